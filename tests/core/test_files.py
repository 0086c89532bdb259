from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo_core import IntegrityError, ResourceError
from zoo_core.disk.atomic import atomic_write, scratch_folder, sweep
from zoo_core.disk.sandbox import run_child
from zoo_core.disk.temporary_names import NOBODY, is_gone, temporary_name
from zoo_core.store.archives import extract
from zoo_core.store.readers import gunzip, rezip
from zoo_core.store.sources import _file_path


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_content_can_be_read_back(tmp_path: Path) -> None:
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
    ("content", "why"),
    [(b"short", "it has 5 bytes, expected 7"), (b"much longer", "longer than"), (b"contenT", "SHA-256")],
)
def test_unexpected_content_never_gets_the_name(tmp_path: Path, content: bytes, why: str) -> None:
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
def test_disk_errors_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    atomic_write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ResourceError) as raised:
        atomic_write(tmp_path / "a", b"new", size=3)
    assert str(tmp_path / "a") in raised.value.what
    assert "cache" not in str(raised.value).lower().replace(str(tmp_path).lower(), "")  # it may be a run directory
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
    with pytest.raises(IntegrityError, match="not a path inside"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-zoo").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_not_extracted(tmp_path: Path, kind: int) -> None:
    archive = zipped(tmp_path / "a.zip", {"x": b"/etc/passwd"}, mode=kind | 0o777)
    with pytest.raises(IntegrityError, match="a link or a device"):
        extract(archive, tmp_path / "out", max_bytes=99, max_entries=9)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"x": bytes(5_000_000)})
    with pytest.raises(IntegrityError, match="exceeds the extraction limit"):
        extract(archive, tmp_path / "out", max_bytes=1_000_000, max_entries=9)
    assert not (tmp_path / "out").exists()  # refused by its declared size, before anything is unpacked


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {str(n): b"" for n in range(10)})
    with pytest.raises(IntegrityError, match="10 entries"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_with_the_same_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("x", b"2")
    with pytest.raises(IntegrityError, match="two entries with the same name"):
        extract(tmp_path / "a.zip", tmp_path / "out", max_bytes=9, max_entries=9)


NAMES = {
    "a drive": "C:evil",
    "a share": "\\\\server\\evil",
    "the target itself and above": "..",
    "above, at the end": "x/..",
    "a null": "evil\0.txt",
    "a name that is too long": "x" * 256,
    "a name of 256 bytes": "é" * 128,
    "a folder that is too long": "x" * 256 + "/y",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_outside_the_folder_are_refused_by_every_zip_reader(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {name.replace("\0", "#"): b"1", "good": b"2"})
    if "\0" in name:  # zipfile would cut it there
        archive.write_bytes(archive.read_bytes().replace(b"evil#", b"evil\0"))
    with pytest.raises(IntegrityError, match=r"not a path inside|longer than 255 bytes"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)
    with pytest.raises(IntegrityError, match=r"not a path inside|longer than 255 bytes"):
        b"".join(rezip(archive))
    assert left_in(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    "names", [("a.txt", "A.TXT"), ("é", "e\u0301"), ("a/b", "a"), ("x", "./x"), ("Straße", "strasse")]
)
def test_names_that_collide_on_some_file_systems_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    archive = zipped(tmp_path / "a.zip", dict.fromkeys(names, b"1"))
    with pytest.raises(IntegrityError, match="two entries with the same name"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)
    with pytest.raises(IntegrityError, match="two entries with the same name"):
        b"".join(rezip(archive))
    assert left_in(tmp_path) == ["a.zip"]


def directory_entry(archive: bytes, number: int) -> int:
    """Return the offset of an entry in a zip's central directory."""
    at = -1
    for _ in range(number + 1):
        at = archive.index(b"PK\1\2", at + 1)
    return at


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a": b"1" * 99, "b": b"2" * 99})
    content = bytearray(archive.read_bytes())
    content[directory_entry(content, 1) + 42] = 0  # the second one's header: where the first one's is
    archive.write_bytes(content)
    with pytest.raises(IntegrityError, match="overlap"):
        extract(archive, tmp_path / "out", max_bytes=999, max_entries=9)


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    content[directory_entry(content, 0) + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(IntegrityError, match="is encrypted"):
        extract(archive, tmp_path / "out", max_bytes=9, max_entries=9)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_with_unbounded_memory_are_refused(tmp_path: Path, packing: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as archive:
        archive.writestr("a", b"1")
    with pytest.raises(IntegrityError, match=f"compression method is {packing}"):
        extract(tmp_path / "a.zip", tmp_path / "out", max_bytes=9, max_entries=9)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.99])
def test_a_truncated_zip_is_not_the_expected_file(tmp_path: Path, at: float) -> None:
    archive = zipped(tmp_path / "a.zip", {"a": os.urandom(5000)})
    archive.write_bytes(archive.read_bytes()[: int(at * 5000)])
    with pytest.raises(IntegrityError, match=r"a\.zip cannot be read"):
        extract(archive, tmp_path / "out", max_bytes=9999, max_entries=9)


def test_a_wrong_checksum_or_size_is_detected(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a": b"1" * 5000})
    for offset in (16, 24):  # the checksum, the size
        content = bytearray(archive.read_bytes())
        content[directory_entry(content, 0) + offset] ^= 1
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(IntegrityError, match=r"b\.zip cannot be read|expected 5,001"):
            extract(tmp_path / "b.zip", tmp_path / "out", max_bytes=9999, max_entries=9)
        assert left_in(tmp_path / "out") == []


def test_a_temporary_name_shows_whether_its_process_has_ended(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(tmp_path / temporary_name("x")) is False
    assert is_gone(tmp_path / temporary_name("x", 1)) is False
    assert is_gone(tmp_path / temporary_name("x", ended.pid)) is True
    assert is_gone(tmp_path / temporary_name("x", NOBODY)) is True
    assert is_gone(tmp_path / temporary_name("x", 999_999_999)) is True
    assert is_gone(tmp_path / temporary_name("x").replace("@", "@far-away-")) is None
    assert is_gone(tmp_path / ".x.part") is None


def test_a_process_of_another_container_may_still_be_running(tmp_path: Path) -> None:
    """Containers may share a host name, and each numbers its processes from 1."""
    theirs = tmp_path / temporary_name("x", 999_999_999)
    assert is_gone(theirs) is True
    if Path("/proc/self/ns/pid").exists():
        name = theirs.name.replace(str(Path("/proc/self/ns/pid").stat().st_ino), "4026531999")
        assert is_gone(tmp_path / name) is None


def test_a_file_that_another_program_has_open_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows, it cannot be replaced until then."""
    replace, refusals = Path.replace, [1, 2]

    def refuse(self: Path, target: Path) -> Path:
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    assert atomic_write(tmp_path / "a", b"new").read_bytes() == b"new"
    refusals.extend(range(99))
    with pytest.raises(ResourceError, match="if another program has it open"):
        atomic_write(tmp_path / "a", b"newer")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert left_in(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("uri", "windows", "path"),
    [
        ("file:///tmp/a%20b", False, "/tmp/a b"),
        ("file:///C:/data/a%20b", True, "C:/data/a b"),
        ("file:///C:/data", False, "/C:/data"),
    ],
)
def test_a_file_uri_names_a_path_of_its_system(uri: str, windows: bool, path: str) -> None:
    assert _file_path(uri, windows=windows) == path


def test_a_child_is_killed_where_there_are_no_process_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "killpg")
    assert run_child("import time; time.sleep(60)", [], seconds=0.3) is None
    assert run_child("raise SystemExit(3)", [], seconds=30) == 3


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "\U0001f40e" * 63, "\udcff" * 255])
def test_a_file_may_have_the_longest_possible_name(tmp_path: Path, name: str) -> None:
    assert atomic_write(tmp_path / name, b"content").read_bytes() == b"content"


def test_only_old_files_of_ended_processes_are_swept(tmp_path: Path) -> None:
    def make(name: str, *, old: bool) -> Path:
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0) if old else None)
        return tmp_path / name

    far_away = temporary_name("x").replace("@", "@far-away-")
    swept = [
        make(temporary_name("x", NOBODY), old=True),
        make(far_away, old=True),
        make(temporary_name("y", 999_999_999), old=True),
    ]
    remaining = [make(temporary_name("x"), old=True), make(temporary_name("x", NOBODY), old=False)]
    remaining += [make(name, old=True) for name in ("x.part", ".x.part", ".hidden", ".notes.0123456789abcdef.part")]
    assert sweep(tmp_path) == len(swept)
    assert sorted(tmp_path.iterdir()) == sorted(remaining)
    assert sweep(tmp_path / "not there") == 0


def test_a_folder_is_as_old_as_the_newest_file_in_it(tmp_path: Path) -> None:
    for name, time in {"old": (0, 0), "new": None}.items():
        folder = tmp_path / temporary_name(name, NOBODY)
        folder.mkdir()
        (folder / "x").write_bytes(b"x")
        os.utime(folder / "x", time)
        os.utime(folder, (0, 0))
    assert sweep(tmp_path) == 1
    assert [path.name.startswith(".new.") for path in tmp_path.iterdir()] == [True]


def test_a_scratch_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").write_bytes(b"x")
    assert left_in(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError), scratch_folder(tmp_path / "file"):
        pass


def test_rezip_gives_the_same_bytes_for_the_same_files(tmp_path: Path) -> None:
    first = zipped(tmp_path / "1.zip", {"b/": b"", "b/y": b"yy", "a": b"x"}, date=1999)
    second = zipped(tmp_path / "2.zip", {"a": b"x", "b/y": b"yy"}, date=2024)
    assert b"".join(rezip(first)) == b"".join(rezip(second))
    (tmp_path / "3.zip").write_bytes(b"".join(rezip(first)))
    with zipfile.ZipFile(tmp_path / "3.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a": b"x", "b/y": b"yy"}


def test_gunzip_reads_compressed_and_uncompressed_files(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "packed").write_bytes(gzip.compress(b"content"))
    (tmp_path / "unpacked").write_bytes(b"content")
    assert b"".join(gunzip(tmp_path / "packed")) == b"".join(gunzip(tmp_path / "unpacked")) == b"content"
