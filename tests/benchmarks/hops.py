"""How far a reader has to follow the code: the files that one command passes through, and what it does to each image.

    OLD_VENV/bin/python tests/benchmarks/hops.py predict IMAGE
    NEW_VENV/bin/python tests/benchmarks/hops.py data FOLDER

`predict` classifies one image with fashion-cnn; `data` trains fashion-cnn for one epoch on a folder. A hop is a call
from one file of zoo_core into another, counted once for each pair of files; an open is a file of the folder that is
opened for reading; a forward is a call of the whole network.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from types import FrameType
from typing import Any

HOPS: Counter[tuple[str, str]] = Counter()
OPENS: Counter[str] = Counter()
FORWARDS: Counter[str] = Counter()


def follow(frame: FrameType, event: str, argument: Any) -> None:
    """Count calls from one file of zoo_core into another."""
    if event != "call" or frame.f_back is None:
        return
    here, there = (_module(one.f_code.co_filename) for one in (frame.f_back, frame))
    if here and there and here != there:
        HOPS[here, there] += 1


def _module(path: str) -> str:
    _, found, module = path.rpartition("zoo_core/")
    return module if found else ""


def opened(event: str, arguments: tuple[Any, ...]) -> None:
    """Count the images that are opened."""
    if event == "open" and str(arguments[0]).endswith((".png", ".jpg")):
        OPENS[str(arguments[0])] += 1


def main() -> None:
    """Run one of the two commands, and print the counts."""
    from torch import nn

    import zoo_core.cli

    what, path = sys.argv[1], sys.argv[2]
    command = {
        "predict": ["predict", "fashion-cnn", path],
        "data": ["run", "fashion-cnn", "--epochs", "1", "--data", path],
    }[what]
    call = nn.Module.__call__

    def counted(module: nn.Module, *arguments: Any, **named: Any) -> Any:
        FORWARDS[type(module).__name__] += 1
        return call(module, *arguments, **named)

    nn.Module.__call__ = counted  # type: ignore[method-assign]
    sys.addaudithook(opened)
    sys.argv = ["zoo", *command, *(["--out", tempfile.mkdtemp()] if what == "data" else [])]
    threading.setprofile(follow)
    sys.setprofile(follow)
    try:
        zoo_core.cli.main()
    except SystemExit as end:
        assert not end.code, end.code
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    files = {name for pair in HOPS for name in pair}
    print(f"\n{what}: {len(HOPS)} hops between {len(files)} files of zoo_core", file=sys.stderr)
    print(f"opens of one image: at most {max(OPENS.values(), default=0)}", file=sys.stderr)
    print(f"forwards of the network: {FORWARDS['Conv2d'] // 2}", file=sys.stderr)  # it has two convolutions


if __name__ == "__main__":
    main()
