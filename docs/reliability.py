"""The page on reliability: promises, and the counters of explanation/reliability.json, which the tests write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEDGER = Path(__file__).parent / "explanation" / "reliability.json"
LABELS = {"told_how_to_disarm": "advised to load unsafely"}  # clearer than the counter's name in the ledger


def ledger() -> dict[str, Any]:
    """Return both columns: "ci" and "full"."""
    columns: dict[str, Any] = json.loads(LEDGER.read_text()) if LEDGER.is_file() else {}
    return columns


def reliability(columns: dict[str, Any]) -> Iterator[str]:
    """Yield the page."""
    yield PROMISES
    yield TESTED
    yield FOUND
    yield "## Counters\n"
    for name, title in (("full", "Full run"), ("ci", "On every change, in CI")):
        if name in columns:
            yield f"### {title}\n"
            yield from _column(columns[name])


def _column(column: dict[str, Any]) -> Iterator[str]:
    yield "| test | counts |\n|---|---|"
    for what, counts in sorted(column["figures"].items()):
        order = sorted(counts, key=lambda name: name not in ("tried", "kills"))
        cells = ", ".join(f"{_label(name)}: {_shown(counts[name])}" for name in order)
        yield f"| {what} | {cells} |"
    for test, reason in sorted(column["skips"].items()):
        yield f"| skipped: `{test}` | {reason} |"
    packages = ", ".join(f"{name} {version}" for name, version in sorted(column["packages"].items()))
    yield f"\n{column['day']}, seed {column['seed']}, {column['system']}, Python {column['python']}, {packages}.\n"


def _label(counter: str) -> str:
    return LABELS.get(counter, counter.replace("_", " "))


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


PROMISES = """# Reliability

What zoo promises, the limits of each promise, and how it is tested. All counts on this page are written by `python -m
pytest tests/reliability`; none is typed by hand.

## Promises

1. **No saved checkpoint is lost.** A checkpoint is written to a temporary directory with a manifest of SHA-256 hashes,
   flushed to disk (fsync), renamed, and read back. Only then are older checkpoints deleted, and one is always retained
   as a fallback. Whatever kills the process, a checkpoint with its final name is complete. After a power failure this
   holds as far as the disk honors fsync.
2. **Resuming is exact.** `zoo run --resume RUN` gives the same weights, metrics and sample order, bit for bit, as an
   uninterrupted run, even after many kills within one epoch. This holds on the same machine, with the same versions
   of Python, PyTorch and plugins, and the same world size. Every random draw is a function of seed, epoch and
   position, so no generator state has to be saved. A process trains one run at a time and refuses a second. If recorded
   versions have changed, the run resumes, reports the differences and records them in `resumes.jsonl`. A different
   recipe is refused, and every difference is listed.
3. **Every downloaded byte is verified** by size and SHA-256 before the file gets its final name. HTTPS is never
   downgraded to HTTP. Downloads from a URL resume where they stopped; a wheel from a package index is fetched by pip or
   uv, and starts again.
4. **Any number of processes can share the cache**, even where file locks do not work. A lock only saves bandwidth;
   correctness comes from separate temporary files, hashes and atomic renames.
5. **Loading files runs no code.** Weights, checkpoints and features are safetensors and JSON. `zoo import-weights`
   reads a third-party `.pth` in a resource-limited subprocess and converts it to safetensors. Registry files, plans and
   runs cannot name code; what is built comes from installed cards. *Plugins are code*: installing one means trusting
   its author.
6. **Images are never silently altered or replaced.** Every conversion is documented
   ([images](../reference/images.md)), and images that cannot be decoded are listed, all at once.
7. **A diverged run stops.** A NaN or infinite loss ends it, and no checkpoint with such a loss is saved.
8. **A broken plugin is reported and left out**: one that cannot be imported, raises, or provides invalid cards. The
   others keep working.
9. **The first Ctrl-C, SIGTERM or SIGHUP** finishes the current step, saves a checkpoint and prints the command that
   resumes. The second stops immediately.
10. **Every failure says what happened, why, and what to do**, with an exit code for its kind.

## Exit codes

| code | |
|---|---|
| 0 | success |
| 1 | a bug in zoo |
| 2 | the command, a recipe or a registry file is wrong |
| 3 | images or labels cannot be used |
| 4 | a download failed |
| 5 | a file does not match its size or hash |
| 6 | disk, memory or permissions; a worker process was killed |
| 7 | training diverged |
| 8 | a plugin is broken |
| 9 | a check failed, or with `--strict` a reference metric was missed |
| 129, 130, 143 | SIGHUP, Ctrl-C, SIGTERM |
| 141 | stdout was closed |

## Limits

zoo does not promise:

- protection from a plugin's code, which can change the process it runs in (working directory, threads, streams), or
  from anyone who can write to your cache;
- the same bits on another machine or processor, with other versions, after editing a plugin's code, or while other
  threads of the process draw from PyTorch's random generator;
- that a folder of your own images is unchanged when a run resumes: counts and classes are compared, not contents;
- security between ranks on a network that is not yours, as PyTorch's rendezvous has no authentication;
- anything on file systems where a rename is not atomic.
"""

TESTED = """\
## How it is tested

With `ZOO_FAILPOINT` set, the process is killed, or gets an error from the operating system, just before a chosen write,
sync, rename or deletion. All writes of the core pass through `zoo_core/disk/`, and a test enforces that. The tests kill
the process at the first such point, then at the second, and so on until none is left; after each kill they examine what
is on disk and repeat the work. Other tests send SIGKILL at random moments of real training runs on Fashion-MNIST, serve
downloads from a server that misbehaves in many ways, run many processes on one cache, and feed mutated and malicious
files to every reader. The counters at the end of this page are the results.
"""

FOUND = """\
## Bugs these tests found, now fixed

- After resuming, the optimizer's state had another memory format than the parameters (channels last), and the fused
  step silently mixed up values. Covered by `tests/engine/test_resume.py`.
- Deleting an old checkpoint on a disk that refuses it ended in a traceback. Covered by the failing-disk tests.
- A closed pipe, a full disk under stdout and a missing stdout were reported as bugs in zoo. Covered by
  `tests/reliability/test_signals.py`.
- A one-pixel-high image would have been scaled to billions of pixels before cropping; an 82-byte PNG passed as 50
  million black pixels; a TIFF in which 0 is white was read as its negative; a named pipe in a folder of images blocked
  forever. Covered by `tests/reliability/test_images.py`.
- A registry file with 50,000 dotted keys took 84 seconds to parse, and a number with thousands of digits ended in a
  traceback. Covered by `tests/reliability/corpus.py`.
- Zip entries that claim more bytes than they have, entries without a name, and damaged wheels were not recognized.
  Covered by `tests/core/test_files.py`.
- Long non-Latin file names exceeded the file system's limit, and a non-ASCII ETag broke a download that should have
  resumed. Covered by `tests/core/test_files.py` and `tests/reliability/test_downloads.py`.
- A run failed if its features could not be cached, although it needed them only once. Covered by
  `tests/engine/test_training.py`.
"""
