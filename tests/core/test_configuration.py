"""What the user has set: kept whole, and named when it cannot be read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo_core import ResourceError, UsageError, load_registry
from zoo_core.registry.settings import UserConfig


def test_without_a_file_nothing_is_set(tmp_path: Path) -> None:
    configuration = UserConfig.default()
    assert configuration.path == tmp_path / "configuration" / "config.json"
    assert configuration.settings().disabled == ()
    assert not configuration.path.parent.exists()  # reading writes nothing


def test_disabled_plugins_are_kept_in_order_once_each() -> None:
    for name in ("zoo-b", "zoo-a", "zoo-b"):
        UserConfig.default().disable(name)
    assert UserConfig.default().settings().disabled == ("zoo-a", "zoo-b")
    UserConfig.default().enable("zoo-b")
    UserConfig.default().enable("zoo-b")
    assert UserConfig.default().settings().disabled == ("zoo-a",)


def test_several_at_once_lose_nothing() -> None:
    names = [f"zoo-{number:02}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: UserConfig.default().disable(name), names))
    assert UserConfig.default().settings().disabled == tuple(names)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "invalid JSON"),
        (b'{"disabled": 7}', "disabled: Input should be a valid array"),
        (b'{"disabld": []}', "disabld: unknown key; did you mean 'disabled'"),
        (b"\xff", "invalid JSON"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(content: bytes, why: str) -> None:
    path = UserConfig.default().path
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=why) as caught:
        load_registry()
    assert str(path) in caught.value.what
    assert caught.value.fix == f"mend or delete {path}"
    with pytest.raises(UsageError):
        UserConfig.default().disable("zoo-a")
    assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="ZOO_CONFIG"):
        UserConfig.default().disable("zoo-a")


def test_a_file_in_the_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "configuration").write_text("a file")
    with pytest.raises((ResourceError, UsageError)) as caught:
        UserConfig.default().disable("zoo-a")
    assert "configuration" in str(caught.value)
