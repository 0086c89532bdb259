"""The runs below a folder, and how two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_core.errors import DataError, UsageError
from zoo_core.recipes import Plan
from zoo_core.runs.directory import RunDir

ACCURACY, LOSS = 0.005, 0.02  # how far a metric may lie from the first run's, on another machine or with other versions
MACHINE = (
    *("python", "platform", "processor", "cpus", "cpu_capability", "gpu"),
    *("packages", "plugins", "device", "threads", "precision", "world_size"),
)


@dataclass(frozen=True)
class Summary:
    """One run in a line."""

    run: RunDir
    status: str
    metrics: Mapping[str, float]
    seconds: float  # of its epochs

    @classmethod
    def of(cls, run: RunDir) -> Summary:
        """Read a run's summary; raises DataError where a file of it is damaged."""
        with _well_formed(run):
            result, epochs = run.read_json("result.json"), run.read_metrics()
            seconds = sum(float(epoch.get("seconds", 0.0)) for epoch in epochs)
            metrics = {str(name): float(value) for name, value in result.get("metrics", {}).items()}
            return cls(run, str(result.get("status", "unknown")), metrics, seconds)

    @classmethod
    def listed(cls, run: RunDir) -> Summary:
        """Read a run's summary among others: one whose files are damaged has no more to say than that."""
        try:
            return cls.of(run)
        except DataError:
            return cls(run, "damaged", {}, 0.0)


@dataclass(frozen=True)
class ReproducedMetric:
    """One metric of a run, and of the same plan carried out again."""

    metric: str
    first: float
    again: float | None  # None: it was not measured again
    tolerance: float  # 0 on the same machine with the same versions

    @property
    def passed(self) -> bool:
        """Whether the two agree."""
        return self.again is not None and abs(self.first - self.again) <= self.tolerance


def find_runs(root: Path) -> list[RunDir]:
    """Return the runs below a folder, the newest last.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder", why="runs are kept in ./runs unless --out says otherwise", fix="zoo run"
        )
    plans = [*root.glob("*/*/plan.json"), *root.glob("*/*/*/plan.json")]  # a recipe's name may have a slash
    found = [path.parent for path in plans if not path.parent.is_symlink()]
    return [RunDir(path) for path in sorted(found, key=lambda path: (path.name, path.parent.name))]


def find_resumable(where: str, root: Path, recipe: str | None) -> RunDir | None:
    """Return the run to go on with: the one at the path `where`.

    With "auto" it is the newest below `root`, of the recipe if one is named, that did not finish and is not under way;
    None: there is no such run.

    Raises:
        DataError: there is no run at the path.
        UsageError: it has finished.
    """
    if where != "auto":
        run = RunDir.open(Path(where))
        if run.status == "finished":
            raise UsageError(f"{where} has finished", why="there is nothing to go on with", fix=f"zoo report {where}")
        return RunDir(run.path.resolve())  # "latest" may point to another before this one ends
    runs = find_runs(root) if root.is_dir() else []
    mine = [run for run in runs if recipe in (None, run.path.parent.relative_to(root).as_posix())]
    over = ("finished", "damaged")
    return next((run for run in reversed(mine) if Summary.listed(run).status not in over and not run.is_running), None)


def require_same_recipe(run: RunDir, plan: Plan) -> None:
    """Refuse to go on with a run by another recipe than it began with.

    Raises:
        UsageError: something is other; all of it is named.
    """
    began = run.plan()
    sides = ({**one.recipe.model_dump(mode="json"), "data": one.data, "device": one.device} for one in (began, plan))
    lines = [f"  {field}: {first} in the run, {second} now" for field, first, second in _unequal(*sides)]
    if lines:
        why, fix = "\n".join(lines), f"zoo run --resume {run.path}"
        raise UsageError(f"{run.path} began with another recipe", why=why, fix=fix)


def differences(one: RunDir, other: RunDir) -> Iterator[tuple[str, object, object]]:
    """Yield (field, one's, other's) for every field of plan, environment and result that differs; None: it has none."""
    sides = []
    for run in (one, other):
        with _well_formed(run):
            sides.append(dict(_flat(_everything(run))))
    return _unequal(*sides)


def environment_diff(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two environments of all that results may depend on, in the last bit or more."""
    return {name: (here.get(name), there.get(name)) for name in MACHINE if here.get(name) != there.get(name)}


def compare_metrics(first: RunDir, again: RunDir) -> list[ReproducedMetric]:
    """Hold the metrics of a run against those of the same plan carried out again."""
    with _well_formed(first):
        exact = (
            not environment_diff(*(run.read_json("environment.json") for run in (first, again)))
            and not first.environment_changed
        )
    second = Summary.of(again).metrics
    return [
        ReproducedMetric(name, value, second.get(name), 0.0 if exact else ACCURACY if "accuracy" in name else LOSS)
        for name, value in Summary.of(first).metrics.items()
    ]


def _unequal(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    sides = [dict(_flat(side)) for side in (one, other)]
    for field in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (side.get(field) for side in sides)
        if first != second:
            yield field, first, second


@contextmanager
def _well_formed(run: RunDir) -> Iterator[None]:
    """Turn what is raised over files that no run has written so into a DataError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{run.path} holds files that no run has written", why=f"{error}") from error


def _everything(run: RunDir) -> dict[str, Any]:
    names = ("plan.json", "environment.json", "result.json")
    return {name.removesuffix(".json"): run.read_json(name) for name in names}


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value
