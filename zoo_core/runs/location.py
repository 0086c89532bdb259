"""Where a new run is written: a folder named after the recipe or the data, and in it one named after the time."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from unicodedata import normalize

from zoo_core.disk.atomic import disk_errors
from zoo_core.errors import UsageError
from zoo_core.recipes.plan import Plan
from zoo_core.runs.labels import RESERVED

LATEST = "latest"  # a link to the newest run, in each folder of runs and at the top
LONGEST_FOLDER = 60  # characters of a folder's name


def folder_name(plan: Plan) -> str:
    """Return the name of the folder that a plan's runs are filed in: the recipe's, or that of the user's own data.

    It is safe on every file system. Data of the same name in different places shares it: `zoo runs` shows the paths.
    """
    if plan.data is None:
        return f"{plan.recipe.name}_" if plan.recipe.name == LATEST else plan.recipe.name
    data = plan.data.resolve()  # "." has a name only as an absolute path
    plain = normalize("NFC", data.stem if data.suffix.lower() == ".csv" else data.name)
    safe = re.sub(r"[^\w.+]+", "-", plain).strip("-.")[:LONGEST_FOLDER].rstrip("-.") or "data"
    return f"{safe}_" if RESERVED.fullmatch(safe) else safe


def create_run_folder(root: Path, folder: str, name: str) -> Path:
    """Create `root`/`folder`/`name`, or one named after the UTC time if `name` is empty.

    Two unnamed runs that start in the same second get different folders.

    Raises:
        ResourceError: the folder cannot be created.
        UsageError: there is a run with this name.
    """
    parent = root / folder
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for attempt in count(1):
        path = parent / (name or (stamp if attempt == 1 else f"{stamp}-{attempt}"))
        with disk_errors(path), suppress(FileExistsError):
            path.mkdir()
            return path
        if name:
            require_unused(root, folder, name)
    raise AssertionError("count() never ends")


def require_unused(root: Path, folder: str, name: str) -> None:
    """Refuse a name that another run in the folder has.

    Raises:
        UsageError: the name is taken.
    """
    path = root / folder / name
    if path.is_symlink() or path.exists():
        why = "a run is never overwritten: choose another --name"
        raise UsageError(f"{path} exists", why=why, fix=f"zoo runs {shlex.quote(str(path))}")


def link_latest(run: Path, root: Path) -> None:
    """Let `latest`, next to the run and in `root`, link to it, where the file system supports links."""
    for folder in (run.parent, root):
        temporary = folder / f".{LATEST}.{run.name}"
        with suppress(OSError):
            temporary.symlink_to(run.relative_to(folder))
            try:
                temporary.replace(folder / LATEST)
            except OSError:  # something else has this name
                temporary.unlink()
