from __future__ import annotations

import errno
import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_core import IntegrityError, ResourceError
from zoo_core.files import atomic_write, extract
from zoo_core.readers import gunzip, rezip


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_there(tmp_path: Path) -> None:
    assert atomic_write(tmp_path / "deep" / "a", b"content").read_bytes() == b"content"
    assert left_in(tmp_path / "deep") == ["a"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    atomic_write(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", chunks())
    assert (tmp_path / "a").read_bytes() == b"old"
    assert left_in(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("content", "why"), [(b"short", "it has 5 bytes, 7 were"), (b"much longer", "longer than"), (b"contenT", "sha256")]
)
def test_content_that_was_not_promised_never_gets_the_name(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        atomic_write(tmp_path / "a", content, size=7, sha256=hashlib.sha256(b"content").hexdigest())
    assert left_in(tmp_path) == []


def test_endless_content_is_cut_off(tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1000)

    with pytest.raises(IntegrityError, match="longer"):
        atomic_write(tmp_path / "a", endless(), size=5000, sha256="0" * 64)
    assert taken == 6


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    atomic_write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError) as raised:
        atomic_write(tmp_path / "a", b"new", size=3)
    assert str(tmp_path / "a") in raised.value.what
    assert "ZOO_CACHE" in raised.value.fix
    assert raised.value.exit_code == 6
    assert (tmp_path / "a").read_bytes() == b"old"
    assert left_in(tmp_path) == ["a"]


def zipped(path: Path, entries: dict[str, bytes], *, mode: int = 0, date: int = 2000) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, (date, 1, 1, 0, 0, 0))
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def test_regular_files_are_extracted(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x/y.txt": b"1", "z.txt": b"22"})
    paths = extract(archive, tmp_path / "out", max_bytes=3, max_entries=2)
    assert {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in paths} == {
        "x/y.txt": b"1",
        "z.txt": b"22",
    }


@pytest.mark.parametrize("name", ["../evil", "x/../../evil", "/tmp/evil-zoo", "..\\evil", "x/.."])
def test_nothing_is_extracted_outside_the_target(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {name: b"1"})
    with pytest.raises(IntegrityError, match="not a place inside"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-zoo").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_not_extracted(tmp_path: Path, kind: int) -> None:
    archive = zipped(tmp_path / "a.zip", {"x": b"/etc/passwd"}, mode=kind | 0o777)
    with pytest.raises(IntegrityError, match="a link or a device"):
        extract(archive, tmp_path / "out", max_bytes=99, max_entries=9)


def test_a_bomb_is_cut_off(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x": bytes(5_000_000)})
    with pytest.raises(IntegrityError, match="unpacks to more"):
        extract(archive, tmp_path / "out", max_bytes=1_000_000, max_entries=9)
    assert left_in(tmp_path / "out") == []


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {str(n): b"" for n in range(10)})
    with pytest.raises(IntegrityError, match="10 entries"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    with pytest.raises(IntegrityError, match="two entries of one name"):
        extract(tmp_path / "a.zip", tmp_path / "out", max_bytes=9, max_entries=9)


def test_rezip_gives_the_same_bytes_for_the_same_files(tmp_path: Path) -> None:
    one = zipped(tmp_path / "1.zip", {"b/": b"", "b/y": b"yy", "a": b"x"}, date=1999)
    two = zipped(tmp_path / "2.zip", {"a": b"x", "b/y": b"yy"}, date=2024)
    assert b"".join(rezip(one)) == b"".join(rezip(two))
    (tmp_path / "3.zip").write_bytes(b"".join(rezip(one)))
    with zipfile.ZipFile(tmp_path / "3.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"x", "b/y": b"yy"}


def test_gunzip_takes_packed_and_unpacked(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "packed").write_bytes(gzip.compress(b"content"))
    (tmp_path / "plain").write_bytes(b"content")
    assert b"".join(gunzip(tmp_path / "packed")) == b"".join(gunzip(tmp_path / "plain")) == b"content"
