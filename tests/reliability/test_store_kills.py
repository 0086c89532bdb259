"""Kills and disk errors at every failpoint of the Store: nothing is torn, and the next try succeeds."""

from __future__ import annotations

import ast
import gzip
import hashlib
import os
import re
import signal
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import zoo_core
from tests.reliability.children import Children, children
from tests.reliability.fault_server import HONEST, Answer, FaultServer, serving
from tests.reliability.ledger import FULL, Ledger
from zoo_core import File, Source
from zoo_core.disk.atomic import DAY, atomic_write, hash_of
from zoo_core.disk.temporary_names import NOBODY, temporary_name
from zoo_core.store.cache_folder import MARKER
from zoo_core.store.store import Store

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 40  # it arrives in one piece, so that the failpoints have the same order every time
SHA = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)
MEMBERS = {"a/b.bin": CONTENT, "c.txt": b"c"}
KEY = "c" * 64
BROKEN = Answer(cut=5_000)
RESOURCES = 6  # the exit code of a ResourceError
MOST = 500  # failpoints in one operation; more would be an endless loop
FILES = ("disk/atomic", *(f"store/{name}" for name in ("cache_folder", "http", "partial_download", "store")))


@dataclass(frozen=True)
class Operation:
    """An operation, its inputs, and what must exist at the end."""

    name: str
    does: str
    arguments: Callable[[Path, FaultServer], dict[str, Any]]
    prepare: Callable[[Path], None] = lambda folder: None
    complete: Callable[[Path], bool] = lambda folder: True  # after it succeeded
    script: tuple[Answer, ...] = (HONEST,)  # of the server, the first time
    ends: int = 0  # the exit code of the first time, without a fault


def promised(uri: str, content: bytes, reader: str | None = None) -> dict[str, Any]:
    sha = hashlib.sha256(content).hexdigest()
    source = Source(uri=uri, size=len(content), sha256=sha, reader=reader)
    return File(sources=(source,), size=len(CONTENT), sha256=SHA).model_dump()


def from_server(folder: Path, server: FaultServer) -> dict[str, Any]:
    return {"root": str(folder / "store"), "file": promised(server.url + "/x", CONTENT)}


def from_file(folder: Path, _: FaultServer) -> dict[str, Any]:
    packed = promised((folder / "x.gz").as_uri(), PACKED, "zoo_core:gunzip")
    return {"root": str(folder / "store"), "file": packed}


def has_file(folder: Path) -> bool:
    return hash_of(folder / "store" / "files" / SHA) == SHA


def in_store(folder: Path, *names: str) -> Path:
    path = folder.joinpath("store", *names)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def with_partial(folder: Path) -> None:
    in_store(folder, "scratch", temporary_name(f"{SHA}-%22one%22", NOBODY)).write_bytes(CONTENT[:5_000])


def with_packed(folder: Path) -> None:
    (folder / "x.gz").write_bytes(PACKED)


def with_damaged_features(folder: Path) -> None:
    in_store(folder, "features", f"{KEY}-{'0' * 64}.safetensors").write_bytes(b"damaged")


def with_old_things(folder: Path) -> None:
    with_damaged_features(folder)
    atomic_write(in_store(folder, "files", SHA), CONTENT)
    old = in_store(folder, "scratch", temporary_name("fetch", NOBODY), "below").parent
    (old / "below").write_bytes(b"x")
    os.utime(old / "below", (0, 0))
    os.utime(old, (0, 0))


def with_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)


def with_something_to_replace(folder: Path) -> None:
    (folder / "replaced").write_bytes(b"old")


OPERATIONS = [
    Operation("fetch over HTTP", "fetch", from_server, complete=has_file),
    Operation("fetch the rest over HTTP", "fetch", from_server, with_partial, has_file),
    Operation("fetch from a server that fails", "fetch", from_server, complete=has_file, script=(BROKEN,), ends=4),
    Operation("fetch a file through a reader", "fetch", from_file, with_packed, has_file),
    Operation(
        "adopt",
        "import_file",
        lambda folder, server: {**from_file(folder, server), "candidates": [str(folder / "x.gz")]},
        with_packed,
        has_file,
    ),
    Operation(
        "keep features",
        "put_cached",
        lambda folder, _: {"root": str(folder / "store"), "content": "features"},
        with_damaged_features,
        lambda folder: Store(folder / "store").get_cached(KEY) == b"features",
    ),
    Operation(
        "sweep and remove",
        "clear",
        lambda folder, _: {"root": str(folder / "store")},
        with_old_things,
        lambda folder: not files_below(folder),
    ),
    Operation(
        "extract",
        "unpack",
        lambda folder, _: {"archive": str(folder / "x.zip"), "target": str(folder / "out")},
        with_zip,
        lambda folder: all((folder / "out" / name).read_bytes() == content for name, content in MEMBERS.items()),
    ),
    Operation(
        "write over a file",
        "replace",
        lambda folder, _: {"path": str(folder / "replaced"), "content": "new"},
        with_something_to_replace,
        lambda folder: (folder / "replaced").read_bytes() == b"new",
    ),
    Operation("a folder for scratch", "scratch", lambda folder, _: {"root": str(folder)}),
    Operation("append a line", "append", lambda folder, _: {"path": str(folder / "lines")}),
]


def files_below(folder: Path) -> list[Path]:
    return [
        path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks" and path.name != MARKER
    ]


def torn(folder: Path) -> list[Path]:
    """Return the finished files whose content does not match their names."""
    store = Store(folder / "store")
    damaged = [e.path for e in store.entries() if not store.verify(e) and e.path.read_bytes() != b"damaged"]
    unpacked = {folder / "out" / name: content for name, content in MEMBERS.items()}
    return damaged + [path for path, content in unpacked.items() if path.exists() and path.read_bytes() != content]


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*.part") if path.stat().st_mtime > DAY]  # the old ones existed before


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    """A folder on each file system to test."""
    if not FULL:
        yield [tmp_path]
        return
    if not os.path.ismount("/dev/shm"):
        pytest.skip("/dev/shm is not a separate file system")
    with TemporaryDirectory(dir="/dev/shm") as other:
        yield [tmp_path, Path(other)]


@dataclass
class Tried:
    """The outcome of one operation, with a fault at each of its failpoints in turn."""

    reached: list[str] = field(default_factory=list)  # names of the failpoints at which the fault happened
    wrong: list[str] = field(default_factory=list)


def try_all(operation: Operation, action: str, root: Path, server: FaultServer, forked: Children) -> Tried:
    tried = Tried()
    for number in count(1):
        assert number < MOST
        folder = root / f"{operation.name}, {action} {number}"
        folder.mkdir()
        operation.prepare(folder)
        before = len(unfinished(folder))
        arguments = operation.arguments(folder, server)
        server.plays(*operation.script)
        retry = {"retry": {"tries": 1}} if operation.does == "fetch" else {}
        code = forked.run(operation.does, failpoint=f"*:{number}:{action}", **arguments, **retry)
        said = forked.heard()
        reached = re.search(r"^failpoint ([\w.-]+):", said, re.MULTILINE)
        if reached is None:
            assert code == operation.ends, said
            return tried
        tried.reached.append(reached[1])
        where = f"{operation.name}, {action} at {number} ({reached[1]})"
        expected = {-signal.SIGKILL} if action == "kill" else {0, RESOURCES, operation.ends}
        if code not in expected:
            tried.wrong.append(f"{where}: it ended with {code}: {said}")
        if action != "kill" and reached[1] != "files.remove" and code == RESOURCES and len(unfinished(folder)) > before:
            tried.wrong.append(f"{where}: {unfinished(folder)} remains")
        server.plays(HONEST)
        tried.wrong += [f"{where}: {path} is torn" for path in torn(folder)]
        if operation.does == "replace" and (folder / "replaced").read_bytes() not in (b"old", b"new"):
            tried.wrong.append(f"{where}: neither the old content nor the new one is there")
        again = forked.run(operation.does, **arguments)
        if again or not operation.complete(folder) or torn(folder):
            tried.wrong.append(f"{where}: the second try ends with {again}: {forked.heard()}")
    raise AssertionError


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with serving(CONTENT) as server:
        yield server


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    with children(tmp_path_factory.mktemp("said") / "stderr") as parent:
        yield parent


@pytest.fixture(scope="module")
def hit() -> set[str]:
    """The failpoints at which some operation was killed."""
    return set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_kill_anywhere_tears_nothing_and_the_next_try_succeeds(
    operation: Operation, folders: list[Path], server: FaultServer, forked: Children, ledger: Ledger, hit: set[str]
) -> None:
    tried = [try_all(operation, "kill", root, server, forked) for root in folders]
    wrong = [message for each in tried for message in each.wrong]
    hit.update(name for each in tried for name in each.reached)
    ledger.record(f"kills: {operation.name}", tried=sum(len(each.reached) for each in tried), damaged=len(wrong))
    assert all(each.reached for each in tried)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("action", ["ENOSPC", "EIO"])
def test_a_disk_error_anywhere_is_explained_and_leaves_nothing(
    action: str, folders: list[Path], server: FaultServer, forked: Children, ledger: Ledger
) -> None:
    tried = [try_all(operation, action, root, server, forked) for operation in OPERATIONS for root in folders]
    wrong = [message for each in tried for message in each.wrong]
    ledger.record(f"{action} in the Store", tried=sum(len(each.reached) for each in tried), wrong=len(wrong))
    assert not wrong, "\n".join(wrong)


def test_every_failpoint_in_the_source_was_reached(hit: set[str]) -> None:
    if not hit:
        pytest.skip("the kills did not run before this")
    root = Path(zoo_core.__file__).parent
    nodes = [node for name in FILES for node in ast.walk(ast.parse((root / f"{name}.py").read_text()))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoint"]
    named = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
    named = {name for name in named if not name.startswith("folder.")}  # checkpoints' own: test_kills.py
    assert len(named) > 10
    assert named - hit == set()
