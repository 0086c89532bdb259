"""The page on what is promised and what was tried, made of explanation/reliability.json, the ledger of the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEDGER = Path(__file__).parent / "explanation" / "reliability.json"


def ledger() -> dict[str, Any]:
    """Return both columns: "ci" and "full"."""
    found: dict[str, Any] = json.loads(LEDGER.read_text()) if LEDGER.is_file() else {}
    return found


def reliability(columns: dict[str, Any]) -> Iterator[str]:
    """Yield the page."""
    yield PROMISES
    yield "## What was tried\n"
    yield TRIED
    for name, title in (("full", "Everything"), ("ci", "What CI runs on every change")):
        if name in columns:
            yield f"### {title}\n"
            yield from _column(columns[name])
    yield FOUND


def _column(column: dict[str, Any]) -> Iterator[str]:
    yield "| what | counts |\n|---|---|"
    for what, counts in sorted(column["figures"].items()):
        order = sorted(counts, key=lambda name: name not in ("tried", "kills"))
        told = ", ".join(f"{name.replace('_', ' ')}: {_shown(counts[name])}" for name in order)
        yield f"| {what} | {told} |"
    for test, reason in sorted(column["skips"].items()):
        yield f"| not tried: `{test}` | {reason} |"
    packages = ", ".join(f"{name} {version}" for name, version in sorted(column["packages"].items()))
    yield f"\n{column['day']}, seed {column['seed']}, {column['system']}, Python {column['python']}, {packages}.\n"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


PROMISES = """# Reliability

What is promised, how it is kept, and what was tried against it. The figures are those that `python -m pytest
tests/reliability` prints; none is typed.

## What is promised

1. **Nothing acknowledged is lost.** A checkpoint is files in a temporary folder, a manifest of their sha256, every
   file and the folder handed to the disk (fsync), a rename, and a reading back; only then do older ones go, and one
   stays to fall back on. What has its name is whole, whatever kills the process. (Power loss: as far as the disk
   honours fsync.)
2. **Going on is exact.** `zoo run --resume RUN` on the same machine, with the same versions and as many ranks:
   weights, metrics and sample order are bit for bit those of a run that nobody disturbed, also after many kills
   inside one epoch. Every random draw is a function of seed, epoch and place, so no generator's state is kept. With
   other versions it goes on, says what is other, and keeps that in `resumes.jsonl`; another recipe is refused with
   all that differs.
3. **Every byte from outside is checked**, size and sha256, before it has a name. Downloads go on where they were cut,
   in a file of their own; no way leads from https to http.
4. **Any number of processes may share the cache**, also where file locks do nothing: a lock saves bandwidth,
   correctness comes from a file of one's own, its hash, and a rename.
5. **Loading runs no code.** Weights, checkpoints and features are safetensors and JSON. A foreign `.pth` goes through
   `zoo import-weights`, a limited process of its own, and comes out as safetensors. A registry file, a plan and a run
   name no code, flag or path; what is built comes from installed cards. *Plugins are code*: to install one is to
   trust its author.
6. **Images are never silently changed or replaced.** Their conversion is documented
   ([images](../reference/images.md)), and those that cannot be read are listed, all at once.
7. **A bad run stops.** A loss that is no number ends it, and what holds such a number is never saved.
8. **One broken plugin breaks only itself.**
9. **The first Ctrl-C, SIGTERM or SIGHUP** lets the step end, saves, and says how to go on; the second ends at once.
10. **Every failure says what, why and what to type next**, with an exit code of its kind:

| code | |
|---|---|
| 0 | done |
| 1 | a bug in zoo |
| 2 | the command, a recipe or a registry file |
| 3 | images or labels |
| 4 | bytes that could not be had |
| 5 | bytes that are not what was promised |
| 6 | disk, memory, permission, a process that died |
| 7 | a loss that is no number |
| 8 | a plugin |
| 9 | a check or a documented figure did not hold, where that was asked for |
| 130, 143, 129, 141 | Ctrl-C; SIGTERM; SIGHUP (the terminal was closed); broken pipe |

**Not promised**: safety from a plugin's code or from someone who may write into your cache; a network between ranks
that is not yours (PyTorch's rendezvous knows no passwords); the same bits on another machine or with other versions;
file systems on which a rename is not atomic; that a folder of your own images is the same when a run goes on as it
was when it began (their number and classes are compared, their bytes are not).
"""

TRIED = """\
`ZOO_FAILPOINT` lets a process be killed, or be refused by the system, before any one write, sync, rename or removal;
all writes of the core pass such places (`zoo_core/files.py`), and a test holds the writing calls together there. The
tests kill at the first such place, at the second, and so on until nothing is left to kill, and after each look at
what lies on the disk, and do the same work again. Training is real: Fashion-MNIST's shipped images, SIGKILL at random
moments.
"""

FOUND = """\
## What was found by these tests, and mended

- An optimizer that was restored from a file had its state in another order in memory than its parameters, where
  images lie with their channels last; the fused step then mixed them up in silence. Found when a run that went on was
  not bit-identical; held by `tests/engine/test_resume.py`.
- Deleting an old checkpoint on a disk that refuses it ended in a traceback. Found by the failing-disk tests.
- A closed pipe, a full output and a missing stdout were called bugs of zoo. Held by
  `tests/reliability/test_signals.py`.
- A line of pixels would have been blown up to billions of them before it was cropped; a PNG of 82 bytes passed as 50
  million black pixels; a TIFF whose 0 is white was read as its negative. Held by `tests/reliability/test_images.py`.
- A pipe in a folder of images was opened, and hung. Held by `tests/reliability/test_images.py`.
- A registry file with 50,000 dotted keys took 84 seconds, and one with a number of thousands of digits ended in a
  traceback. Held by `tests/reliability/corpus.py`.
- A zip's entry that claims more bytes than it has, one without a name, and a damaged wheel were not refused as what
  they are. Held by `tests/core/test_files.py` and the corpus.
- Long file names in other scripts made names that no file system takes, and a server's name for a version (ETag) that
  is no ASCII broke a download that should go on. Held by `tests/core/test_files.py` and
  `tests/reliability/test_downloads.py`.
- Features that could not be kept ended a run that needed them only once. Held by `tests/engine/test_training.py`.
"""
