"""The runs in a folder: listed, found for a resume, compared with each other."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import Any

from zoo_core.errors import DataError, UsageError
from zoo_core.metrics import MetricKind, metric_kind
from zoo_core.recipes.plan import Plan
from zoo_core.runs.directory import RunDir
from zoo_core.runs.flatten import flatten
from zoo_core.runs.summary import RunSummary, well_formed

TOLERANCES: Mapping[MetricKind, float] = {"fraction": 0.005, "loss": 0.02, "number": 0.02}  # if the environments differ
DEPTH = 3  # folders between the root and a run: a recipe's name may contain a slash
ENVIRONMENT = (  # fields of environment.json that a result may depend on, in the last bit or more
    *("python", "platform", "cpu", "cpu_capability", "cpus", "packages", "plugins"),
    *("device", "gpu", "threads", "precision", "world_size"),
)


@dataclass(frozen=True)
class ReproducedMetric:
    """One metric of a run, and of the run that repeats its plan."""

    metric: str
    first: float
    again: float | None  # None: it was not measured again
    tolerance: float  # 0: the environments are the same, so the bits must be
    kind: MetricKind = "number"

    @property
    def passed(self) -> bool:
        """Whether the two agree within the tolerance."""
        return self.again is not None and abs(self.first - self.again) <= self.tolerance


def list_runs(folder: Path | str = "runs") -> list[RunSummary]:
    """Return a summary of each run in a folder, the newest last; a run that cannot be read has the status "damaged".

    Raises:
        DataError: the folder does not exist.
    """
    return [RunSummary.listed(run) for run in find_runs(Path(folder))]


def find_runs(root: Path) -> list[RunDir]:
    """Return the runs in a folder and the folders in it, the newest last. Links such as `latest` are not followed.

    Raises:
        DataError: the folder does not exist.
    """
    if not root.is_dir():
        why = "runs are saved in ./runs, unless --out names another folder"
        raise DataError(f"{root} is not a folder", why=why, fix="zoo run RECIPE")
    runs = [RunDir(path) for path in _run_folders(root, DEPTH)]
    return sorted(runs, key=lambda run: (run.started, run.path.name, run.path.parent))


def find_resumable(
    path_or_auto: str, root: Path, recipe: str | None, *, data: Path | None = None, name: str | None = None
) -> RunDir | None:
    """Return the run to resume: the one at the path, or for "auto" the newest in `root` that was interrupted or killed.

    With a recipe, data or a name, "auto" looks only at runs of this recipe on this data (None: the recipe's dataset)
    with this name; None: there is no such run. A run that failed is resumed only by its path: the same plan would fail
    again.

    Raises:
        DataError: the path is not a run.
        UsageError: the run at the path has finished, or has another name.
    """
    if path_or_auto != "auto":
        return _resumable_at(Path(path_or_auto), name)
    for run in reversed(find_runs(root) if root.is_dir() else []):
        if name in (None, run.path.name) and _was_interrupted(run) and _is_of(run.plan(), recipe, data):
            return run
    return None


def _resumable_at(path: Path, name: str | None) -> RunDir:
    run = RunDir(RunDir.open(path).path.resolve())  # "latest" may link to another run before this one ends
    if run.status == "finished":
        raise UsageError(f"{path} has finished already", fix=f"zoo report {shlex.quote(str(path))}")
    if name not in (None, run.path.name):
        fix = shlex.join(["zoo", "run", "--resume", str(path)])
        raise UsageError(f"{path} cannot be renamed to {name}", why="a run that is resumed keeps its name", fix=fix)
    return run


def _is_of(plan: Plan, recipe: str | None, data: Path | None) -> bool:
    if recipe is None and data is None:
        return True
    return recipe in (None, plan.recipe.name) and _same_place(plan.data, data)


def _same_place(first: Path | None, second: Path | None) -> bool:
    return first == second or (first is not None and second is not None and first.resolve() == second.resolve())


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    with suppress(PermissionError):
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not path.is_dir():
                continue
            if lexists(path / "plan.json"):
                yield path
            elif depth:
                yield from _run_folders(path, depth - 1)


def require_same_recipe(run: RunDir, plan: Plan) -> None:
    """Refuse to resume a run with a different recipe.

    Raises:
        UsageError: the recipes differ; every difference is listed.
    """
    theirs = run.plan()
    if _same_place(theirs.data, plan.data):
        plan = plan.model_copy(update={"data": theirs.data})
    both = (theirs, plan)
    sides = [{**each.recipe.model_dump(mode="json"), "data": each.data, "device": each.device} for each in both]
    lines = [f"  {name}: {then} in the run, {now} now" for name, then, now in _unequal(*sides)]
    if lines:
        why, fix = "\n".join(lines), f"zoo run --resume {run.path}"
        raise UsageError(f"{run.path} was started with a different recipe", why=why, fix=fix)


def differences(*runs: RunDir) -> Iterator[tuple[Any, ...]]:
    """Yield (field, value, value, ...) for each field of plan, environment and result that is not equal in all runs.

    There is one value per run; None: the run does not have the field.
    """
    documents = []
    for run in runs:
        with well_formed(run):
            documents.append({name: run.read_json(f"{name}.json") for name in ("plan", "environment", "result")})
            documents[-1]["result"].pop("seconds", None)  # never the same twice
    return _unequal(*documents)


def environment_diff(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields, such as "packages.torch", in which two environments differ so that results may differ.

    A field that one of the two does not record, because an older version of zoo wrote it, is left out.
    """
    recorded = [name for name in ENVIRONMENT if name in here and name in there]
    sides = ({name: environment[name] for name in recorded} for environment in (here, there))
    return {name: (first, second) for name, first, second in _unequal(*sides)}


def compare_metrics(first: RunDir, again: RunDir) -> list[ReproducedMetric]:
    """Compare the metrics of a run with those of a run that repeats its plan."""
    exact = _same_environment(first, again)
    repeated, original = RunSummary.of(again), RunSummary.of(first)
    kinds = {name: metric_kind(name, original.kinds) for name in original.metrics}
    return [
        ReproducedMetric(
            name, value, repeated.metrics.get(name), 0.0 if exact else TOLERANCES[kinds[name]], kinds[name]
        )
        for name, value in original.metrics.items()
    ]


def recorded_differences(first: RunDir, again: RunDir) -> dict[str, tuple[Any, Any]]:
    """Return what differs between the environments that two runs recorded; see `environment_diff`."""
    with well_formed(first):
        return environment_diff(first.read_json("environment.json"), again.read_json("environment.json"))


def _same_environment(first: RunDir, again: RunDir) -> bool:
    """Whether two runs must agree bit for bit: every field is recorded, and all are equal."""
    with well_formed(first):
        complete = all(name in run.read_json("environment.json") for run in (first, again) for name in ENVIRONMENT)
        return complete and not recorded_differences(first, again) and not first.environment_changed


def _was_interrupted(run: RunDir) -> bool:
    return RunSummary.listed(run).status == "interrupted" and not run.is_locked


def _unequal(*documents: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    sides = [dict(flatten(document)) for document in documents]
    for name in dict.fromkeys(name for side in sides for name in side):
        values = [side.get(name) for side in sides]
        if any(value != values[0] for value in values[1:]):
            yield name, *values
