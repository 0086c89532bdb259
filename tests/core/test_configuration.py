"""The user's settings: no change is lost, and an unreadable file is reported with its fault."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo_core import ResourceError, UsageError, load_registry
from zoo_core.registry.settings import UserConfig


def test_without_a_file_there_are_only_defaults(tmp_path: Path) -> None:
    configuration = UserConfig.default()
    assert configuration.path == tmp_path / "configuration" / "config.json"
    assert configuration.settings().disabled == ()
    assert not configuration.path.parent.exists()  # reading writes nothing


def test_a_tilde_in_zoo_config_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_CONFIG", "~/settings")
    assert UserConfig.default().path == tmp_path / "settings" / "config.json"


def test_disabled_plugins_are_sorted_and_unique() -> None:
    for name in ("zoo-b", "zoo-a", "zoo-b"):
        UserConfig.default().disable(name)
    assert UserConfig.default().settings().disabled == ("zoo-a", "zoo-b")
    UserConfig.default().enable("zoo-b")
    UserConfig.default().enable("zoo-b")
    assert UserConfig.default().settings().disabled == ("zoo-a",)


def test_concurrent_changes_are_all_saved() -> None:
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
def test_a_damaged_file_is_reported_with_its_fault(content: bytes, why: str) -> None:
    path = UserConfig.default().path
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=why) as caught:
        load_registry()
    assert str(path) in caught.value.what
    assert caught.value.fix == f"rm {path}"
    with pytest.raises(UsageError):
        UserConfig.default().disable("zoo-a")
    assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="ZOO_CONFIG"):
        UserConfig.default().disable("zoo-a")


def test_a_file_instead_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "configuration").write_text("a file")
    with pytest.raises((ResourceError, UsageError)) as caught:
        UserConfig.default().disable("zoo-a")
    assert "configuration" in str(caught.value)
