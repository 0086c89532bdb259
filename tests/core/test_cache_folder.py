"""A folder that is not zoo's, in place of the cache: nothing in it is written, changed or deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Zoo
from zoo_core import File, ResourceError, Source, Store, UsageError
from zoo_core.disk.atomic import hash_of
from zoo_core.disk.temporary_names import NOBODY, temporary_name
from zoo_core.store.cache_folder import MARKER

KEY, OTHER = "a" * 64, "b" * 64
CONTENT = b"the content"


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    sha256 = hash_of(path)
    source = Source(uri=path.as_uri(), size=len(CONTENT), sha256=sha256)
    return File(sources=(source,), size=len(CONTENT), sha256=sha256)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with names that a cache has, too."""
    project = tmp_path / "project"
    for name in ("features/train_1.npy", "features/train_2.npy", "files/thesis.tex"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(b"precious")
    return project


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [("cache", "verify"), ("cache", "rm", "features"), ("cache", "rm", "all")])
def test_commands_leave_a_users_folder_alone(
    zoo: Zoo, project: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(project))
    before = contents(project)
    zoo(*command)
    assert contents(project) == before


def test_verify_says_that_a_users_folder_is_not_a_cache(
    zoo: Zoo, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(project))
    said = zoo("cache", "verify")
    assert said.code == 2
    assert f"{project} is not a zoo cache" in said.err.replace("\n", "")
    assert "features/train_1.npy" in said.err
    assert "export ZOO_CACHE=NEW_FOLDER" in said.err


WRITES: dict[str, Callable[[Store, File], object]] = {
    "fetch": lambda store, file: store.fetch(file, "x"),
    "import": lambda store, file: store.import_file(file, []),
    "cache features": lambda store, file: store.put_cached(KEY, b"features"),
    "sweep": lambda store, file: store.sweep(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_to_a_users_folder(
    project: Path, file: File, write: Callable[[Store, File], object]
) -> None:
    before = contents(project)
    with pytest.raises(UsageError, match="is not a zoo cache"):
        write(Store(project), file)
    assert contents(project) == before


@pytest.mark.parametrize("name", ["files", "features", "pins", "scratch", "locks"])
def test_a_linked_subfolder_is_refused_and_not_followed(tmp_path: Path, file: File, name: str) -> None:
    victim, store = tmp_path / "victim", Store(tmp_path / "store")
    victim.mkdir()
    store.put_cached(KEY, b"features")
    (victim / OTHER).write_bytes(b"not of this hash")
    (victim / f"{KEY}-{OTHER}.safetensors").write_bytes(b"not of this hash")
    old = victim / temporary_name("x", NOBODY)
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    if (store.root / name).exists():
        (store.root / name).rename(tmp_path / "aside")
    (store.root / name).symlink_to(victim)
    before = contents(victim)
    for write in WRITES.values():
        with pytest.raises(UsageError, match="is a link"):
            write(store, file)
    assert not [entry for entry in store.entries() if entry.path.parent.name == name]
    assert contents(victim) == before


def test_other_files_in_a_marked_cache_are_neither_listed_nor_deleted(
    zoo: Zoo, file: File, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(store.root))
    store.fetch(file, "x")
    store.put_cached(KEY, b"features")
    names = ["notes.txt", "files/notes.txt", f"files/{OTHER}.bak", "features/train.npy", "pins/x.json", "files/.x.part"]
    mine = [store.root / name for name in names]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    assert zoo("cache", "verify").out == "2 intact\n"
    assert zoo("cache", "rm", "all").out.startswith("2 deleted")
    assert [path.read_bytes() for path in mine] == [b"mine"] * len(mine)


def test_a_cache_of_an_older_version_is_adopted(tmp_path: Path, file: File) -> None:
    store = Store(tmp_path / "store")
    for name in ("files", "features", "pins", "scratch", "locks"):
        (store.root / name).mkdir(parents=True)
    (store.root / "files" / file.sha256).write_bytes(CONTENT)
    (store.root / "features" / f"{KEY}-{OTHER}.safetensors").write_bytes(b"x")
    (store.root / "pins" / f"{KEY}.json").write_bytes(b"{}")
    (store.root / "locks" / file.sha256).touch()
    (store.root / "scratch" / temporary_name("x", NOBODY)).touch()
    store.put_cached(OTHER, b"features")
    assert (store.root / MARKER).is_file()
    assert len(store.entries()) == 4


def test_a_cache_in_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", "~/cache")
    assert Store.default().root == tmp_path / "cache"


def test_features_have_a_sha256_as_their_key(store: Store) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.put_cached("../escape", b"x")


def test_removing_all_from_an_empty_cache_succeeds(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "new"))
    said = zoo("cache", "rm", "all")
    assert (said.code, said.out) == (0, "0 deleted, 0 B\n")


def test_a_full_disk_under_the_cache_says_how_to_free_space(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError, match=r"(?s)disk is full.*zoo cache rm NAME frees space.*Try: zoo cache ls"):
        store.put_cached(KEY, b"features")


def test_a_cache_that_cannot_be_written_names_zoo_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (lambda s: s.put_cached(KEY, b"x"), lambda s: s.sweep()):
        with pytest.raises(ResourceError):
            write(Store(tmp_path / "file"))
    with pytest.raises(ResourceError, match="ZOO_CACHE moves it"):
        Store(tmp_path / "file").put_cached(KEY, b"x")
