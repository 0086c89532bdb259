"""Operations for processes that will be killed: each line of stdin starts a child, or waits for one.

The children are forked from a process that has imported everything, so that hundreds of kills take seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx  # noqa: F401 - so that no child has to import it
from filelock import FileLock

from zoo_core.cards.files import File, HubFile
from zoo_core.disk.atomic import append_line, atomic_write, scratch_folder
from zoo_core.errors import ZooError
from zoo_core.store.archives import extract
from zoo_core.store.http import RetryPolicy
from zoo_core.store.store import Store

for card in (File, HubFile):
    card.model_rebuild()  # here: a child may not be allowed to read the interpreter's files any more
WRONG_BYTES = 99  # the exit code of a child that got unexpected bytes
KEY = "c" * 64


def store_at(root: str, retry: dict[str, Any] | None = None) -> Store:
    return Store(Path(root), retry=RetryPolicy(pause=0.001, **(retry or {})))


def fetch(root: str, file: dict[str, Any], retry: dict[str, Any] | None = None, after: str | None = None) -> None:
    """Fetch a file, as soon as the file `after` exists."""
    wanted = File.model_validate(file)
    while after is not None and not Path(after).exists():
        time.sleep(0.001)
    content = store_at(root, retry).fetch(wanted, "x").read_bytes()
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        os._exit(WRONG_BYTES)


def fetch_hub(root: str, file: dict[str, Any], endpoint: str) -> None:
    """Fetch a file from a hub that is at `endpoint`."""
    from huggingface_hub import constants

    constants.ENDPOINT = endpoint
    constants.HUGGINGFACE_CO_URL_TEMPLATE = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    store_at(root).fetch(HubFile.model_validate(file), "x")


def import_file(root: str, file: dict[str, Any], candidates: list[str]) -> None:
    if store_at(root).import_file(File.model_validate(file), map(Path, candidates)) is None:
        os._exit(WRONG_BYTES)


def put_cached(root: str, content: str) -> None:
    store = store_at(root)
    if store.get_cached(KEY) is None:  # a damaged copy is deleted
        store.put_cached(KEY, content.encode())
    if store.get_cached(KEY) != content.encode():
        os._exit(WRONG_BYTES)


def clear(root: str) -> None:
    store = store_at(root)
    store.sweep()
    for entry in store.entries():
        store.remove(entry)


def unpack(archive: str, target: str) -> None:
    extract(Path(archive), Path(target), max_bytes=1_000_000, max_entries=100)


def replace(path: str, content: str) -> None:
    atomic_write(Path(path), content.encode())


def scratch(root: str) -> None:
    with scratch_folder(Path(root)) as folder:
        atomic_write(folder / "a", b"a")


def append(path: str) -> None:
    append_line(Path(path), "a line")


def hold(path: str) -> None:
    with FileLock(path):
        signal.pause()


OPERATIONS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (fetch, fetch_hub, import_file, put_cached, clear, unpack, replace, scratch, append, hold)
}


def start(job: dict[str, Any]) -> int:
    """Fork a child that does one operation, and return its process ID."""
    if child := os.fork():
        return child
    code = 1
    try:
        os.environ.update(job["environment"])
        os.dup2(os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        if job["user"] is not None:
            os.setuid(job["user"])
        OPERATIONS[job["operation"]](**job["arguments"])
        code = 0
    except ZooError as error:
        os.write(2, str(error).encode())
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Answer each line: with a process ID after starting a child, with an exit code after waiting for one."""
    for line in sys.stdin:
        job = json.loads(line)
        if isinstance(job, int):
            print(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]), flush=True)
        else:
            print(start(job), flush=True)


if __name__ == "__main__":
    main()
