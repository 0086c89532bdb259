"""The runs in a folder: listed, found for a resume, compared with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo_core.errors import DataError, UsageError
from zoo_core.metrics import MetricKind, metric_kind
from zoo_core.recipes.plan import Plan
from zoo_core.runs.directory import RunDir
from zoo_core.runs.flatten import flatten

TOLERANCES: Mapping[MetricKind, float] = {"fraction": 0.005, "loss": 0.02, "number": 0.02}  # if the environments differ
ENVIRONMENT = (  # fields of environment.json that a result may depend on, in the last bit or more
    *("python", "platform", "cpu", "cpu_capability", "cpus", "packages", "plugins"),
    *("device", "gpu", "threads", "precision", "world_size"),
)


@dataclass(frozen=True)
class Summary:
    """One line of a list of runs."""

    run: RunDir
    status: str  # as result.json has it, "interrupted" if it was killed, "damaged" if it cannot be read
    reason: str = ""
    model: str = ""
    data: str = ""  # the dataset and its edition, or a folder
    epochs: tuple[int, int] = (0, 0)  # finished and planned
    metrics: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, MetricKind] = field(default_factory=dict)
    seconds: float = 0.0  # all epochs together

    @classmethod
    def of(cls, run: RunDir) -> Summary:
        """Read a run's summary; raises DataError where a file of it is damaged."""
        with _well_formed(run):
            plan, epochs, (status, reason) = run.plan(), run.read_metrics(), run.outcome()
            return cls(
                run,
                status,
                reason,
                model=plan.recipe.model,
                data=str(plan.data or f"{plan.dataset.name}.{plan.edition.name}"),
                epochs=(len(epochs), plan.recipe.epochs),
                metrics=_final_metrics(run),
                kinds=run.read_metric_kinds(),
                seconds=sum(float(epoch.get("seconds", 0.0)) for epoch in epochs),
            )

    @classmethod
    def listed(cls, run: RunDir) -> Summary:
        """Read a run's summary for a list; a run that cannot be read is "damaged"."""
        try:
            return cls.of(run)
        except DataError as error:
            return cls(run, "damaged", reason=error.what)


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


def find_runs(root: Path) -> list[RunDir]:
    """Return the runs in a folder, the newest last.

    Raises:
        DataError: the folder does not exist.
    """
    if not root.is_dir():
        why = "runs are saved in ./runs, unless --out names another folder"
        raise DataError(f"{root} is not a folder", why=why, fix="zoo run RECIPE")
    plans = [*root.glob("*/*/plan.json"), *root.glob("*/*/*/plan.json")]  # a recipe's name may contain a slash
    folders = [path.parent for path in plans if not path.parent.is_symlink()]
    return [RunDir(path) for path in sorted(folders, key=lambda path: (path.name, path.parent.name))]


def find_resumable(path_or_auto: str, root: Path, recipe: str | None) -> RunDir | None:
    """Return the run to resume: the one at the path, or for "auto" the newest in `root` that was interrupted or killed.

    With a recipe, "auto" looks at runs of this recipe only; None: there is no such run. A run that failed is resumed
    only by its path: the same plan would fail again.

    Raises:
        DataError: the path is not a run.
        UsageError: the run at the path has finished.
    """
    if path_or_auto != "auto":
        run = RunDir.open(Path(path_or_auto))
        if run.status == "finished":
            raise UsageError(f"{path_or_auto} has finished already", fix=f"zoo report {path_or_auto}")
        return RunDir(run.path.resolve())  # "latest" may link to another run before this one ends
    runs = find_runs(root) if root.is_dir() else []
    candidates = [run for run in runs if recipe in (None, run.path.parent.relative_to(root).as_posix())]
    return next((run for run in reversed(candidates) if _was_interrupted(run)), None)


def require_same_recipe(run: RunDir, plan: Plan) -> None:
    """Refuse to resume a run with a different recipe.

    Raises:
        UsageError: the recipes differ; every difference is listed.
    """
    sides = [
        {**each.recipe.model_dump(mode="json"), "data": each.data, "device": each.device} for each in (run.plan(), plan)
    ]
    lines = [f"  {name}: {theirs} in the run, {ours} now" for name, theirs, ours in _unequal(*sides)]
    if lines:
        why, fix = "\n".join(lines), f"zoo run --resume {run.path}"
        raise UsageError(f"{run.path} was started with a different recipe", why=why, fix=fix)


def differences(*runs: RunDir) -> Iterator[tuple[Any, ...]]:
    """Yield (field, value, value, ...) for each field of plan, environment and result that is not equal in all runs.

    There is one value per run; None: the run does not have the field.
    """
    documents = []
    for run in runs:
        with _well_formed(run):
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
    repeated, original = Summary.of(again), Summary.of(first)
    kinds = {name: metric_kind(name, original.kinds) for name in original.metrics}
    return [
        ReproducedMetric(
            name, value, repeated.metrics.get(name), 0.0 if exact else TOLERANCES[kinds[name]], kinds[name]
        )
        for name, value in original.metrics.items()
    ]


def recorded_differences(first: RunDir, again: RunDir) -> dict[str, tuple[Any, Any]]:
    """Return what differs between the environments that two runs recorded; see `environment_diff`."""
    with _well_formed(first):
        return environment_diff(first.read_json("environment.json"), again.read_json("environment.json"))


def _same_environment(first: RunDir, again: RunDir) -> bool:
    """Whether two runs must agree bit for bit: every field is recorded, and all are equal."""
    with _well_formed(first):
        complete = all(name in run.read_json("environment.json") for run in (first, again) for name in ENVIRONMENT)
        return complete and not recorded_differences(first, again) and not first.environment_changed


def _was_interrupted(run: RunDir) -> bool:
    return Summary.listed(run).status == "interrupted" and not run.is_locked


def _final_metrics(run: RunDir) -> dict[str, float]:
    return {str(name): float(value) for name, value in run.read_json("result.json").get("metrics", {}).items()}


def _unequal(*documents: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    sides = [dict(flatten(document)) for document in documents]
    for name in dict.fromkeys(name for side in sides for name in side):
        values = [side.get(name) for side in sides]
        if any(value != values[0] for value in values[1:]):
            yield name, *values


@contextmanager
def _well_formed(run: RunDir) -> Iterator[None]:
    """Turn the exceptions that malformed files cause into a DataError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{run.path} is not a valid run directory", why=f"{error}") from error
