"""Searches the settings of a recipe with a frozen backbone, within a time, and trains the chosen ones as a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from zoo_core.data.splits import OpenedData, open_splits
from zoo_core.engine.compute.devices import pick_device
from zoo_core.engine.compute.distributed import SINGLE_PROCESS, device_of
from zoo_core.engine.compute.memory import translate_oom
from zoo_core.engine.training.run import execute
from zoo_core.engine.training.single_run import single_run
from zoo_core.engine.tuning.directory import Request, TuneDir
from zoo_core.engine.tuning.fold_scores import FOLDS, LINEAR, HeadScorer, in_memory
from zoo_core.engine.tuning.frozen import FrozenJob
from zoo_core.engine.tuning.space import SearchSpace
from zoo_core.engine.tuning.study import Study, opened_study
from zoo_core.errors import UsageError, ZooError
from zoo_core.events import AuditNote, Event, OnEvent, Progress, drive
from zoo_core.recipes.plan import Plan
from zoo_core.registry.builtin import LogisticHeadSettings
from zoo_core.registry.plugin_errors import attributed_to_plugins
from zoo_core.registry.registry_file import override
from zoo_core.runs.labels import RunLabels
from zoo_core.runs.tuning import Trial, Tuning
from zoo_core.store.store import Store
from zoo_core.terminal import eprint

MOST = 10_000  # training images that configurations are compared on; more would only make each trial slower
FEATURES = 0.4  # share of the time in which features of further backbones are computed
STARTING = 3.0  # seconds for the parts of the last run that are not measured before


@dataclass(frozen=True)
class Budget:
    """When a search ends: after a time, or a number of trials."""

    seconds: float
    trials: int | None = None
    began: float = field(default_factory=monotonic)

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return monotonic() - self.began

    def allows(self, trials: list[Trial], reserve: float) -> bool:
        """Whether there is time for another trial; `reserve` seconds are kept for the last run."""
        if self.trials is not None and len(trials) >= self.trials:
            return False
        if not trials:
            return True
        return self.spent + self._next(trials) + reserve <= self.seconds

    def expected(self, trials: list[Trial], reserve: float) -> int:
        """Return how many trials there will probably be."""
        left = max(0.0, self.seconds - reserve - self.spent)
        total = len(trials) + int(left / max(0.001, median(trial.seconds for trial in trials)))
        return total if self.trials is None else min(total, self.trials)

    @staticmethod
    def _next(trials: list[Trial]) -> float:
        return max(trial.seconds for trial in trials[-10:])


@dataclass(frozen=True)
class Search:
    """A search that is ready to start: `planned` returns the plan of the recipe with more fields changed."""

    request: Request
    planned: Callable[[Mapping[str, Any]], Plan]
    store: Store
    budget: Budget
    on_event: OnEvent
    labels: RunLabels

    def run(self, out: Path, resume: TuneDir | None = None) -> Tuning:
        """Search in a new directory below `out`, or continue, and train the chosen configuration as a run.

        Raises:
            UsageError: the recipe does not freeze its backbone, or another run is in progress in this process.
            IntegrityError: the images have changed since the search began.
            ZooError: of the kind of the failure; completed trials are kept.
        """
        plan = self.request.plan
        require_frozen(plan)
        with single_run(), attributed_to_plugins(plan.model.builder), translate_oom(plan.recipe):
            data = drive(open_splits(plan, self.store, self.on_event), self.on_event)
            opening = self.budget.spent
            fingerprint = data.splits["train"].fingerprint
            if resume is not None:
                resume.require_same_images(fingerprint)
            loaded = self._loaded(data, leave_out=resume is None)
            kept = replace(self.request, models=tuple(loaded))
            directory = resume or TuneDir.create(out, kept, fingerprint)
            reserve = opening + 1.2 * max(one.seconds for one in loaded.values()) + self._fitting(loaded) + STARTING
            with directory.locked(), _advice(directory):
                tuning = self._searched(directory, {name: one.scorer for name, one in loaded.items()}, reserve)
        return self._finished(tuning, directory, out)

    def _searched(self, directory: TuneDir, scorers: Mapping[str, HeadScorer], reserve: float) -> Tuning:
        with opened_study(directory.path) as study:
            study.discard_unfinished()
            trials = study.trials()
            while self.budget.allows(trials, reserve):
                self._try(study, scorers, len(trials))
                trials = study.trials()
                expected = max(len(trials), self.budget.expected(trials, reserve))
                self.on_event(Progress("tuning", len(trials), expected, "trials"))
        plan, images = self.request.plan, len(next(iter(scorers.values())).labels)
        tuning = Tuning(
            plan.recipe.name,
            plan.data,
            self.request.changed,
            plan.settings["criterion"],
            FOLDS,
            images,
            tuple(trials),
            self.budget.spent,
            directory.path,
        )
        directory.write(tuning)
        return tuning

    def _try(self, study: Study, scorers: Mapping[str, HeadScorer], completed: int) -> None:
        recipe = self.request.plan.recipe
        space = SearchSpace(recipe, tuple(scorers), frozenset(self.request.changed) - {"model"})
        trial, overrides = study.ask(space, recipe.seed, completed)
        began = monotonic()
        changed = override(recipe, overrides)
        scores = scorers[changed.model].score(changed)
        study.tell(trial, overrides, scores, monotonic() - began, self.request.plan.settings["criterion"])

    def _fitting(self, loaded: Mapping[str, _Loaded]) -> float:
        """Return how many seconds the last run's fits take at most: one for each strength and fold."""
        settings = LogisticHeadSettings.model_validate(self.request.plan.settings)
        fits = len(settings.strengths) * (settings.folds + 1)
        return fits * max(one.scorer.seconds_per_fit() for one in loaded.values())

    def _finished(self, tuning: Tuning, directory: TuneDir, out: Path) -> Tuning:
        """Train the chosen configuration, as `zoo run` does."""
        plan = self.planned(tuning.chosen.overrides)
        result = execute(plan, store=self.store, out=out, on_event=self.on_event, labels=self.labels)
        tuning = replace(tuning, run=result.directory, metrics=result.metrics, seconds=self.budget.spent)
        directory.write(tuning)
        return tuning

    def _loaded(self, data: OpenedData, *, leave_out: bool) -> dict[str, _Loaded]:
        """Load each backbone and its features, the recipe's own first.

        With `leave_out`, another one that fails or takes too long is left out.
        """
        loaded = dict[str, _Loaded]()
        for model in self.request.models:
            try:
                loaded[model] = self._load(model, data, self._until_late if loaded and leave_out else self.on_event)
            except (ZooError, _TooLateError) as error:
                if not (loaded and leave_out):
                    raise
                reason = error.what if isinstance(error, ZooError) else "there is no time for its features"
                self.on_event(AuditNote(f"{model} is left out: {reason}"))
        return loaded

    def _load(self, model: str, data: OpenedData, on_event: OnEvent) -> _Loaded:
        began = monotonic()
        plan, device = self.planned({"model": model}), pick_device(device_of(self.request.plan.device))
        frozen = FrozenJob.of(plan, data, self.store, device, SINGLE_PROCESS, on_event)
        seconds = monotonic() - began
        train, _ = drive(frozen.features(), on_event)
        return _Loaded(HeadScorer(in_memory(train, MOST, plan.recipe.seed), frozen.job), seconds)

    def _until_late(self, event: Event) -> None:
        self.on_event(event)
        if self.budget.spent > FEATURES * self.budget.seconds:
            raise _TooLateError


@dataclass(frozen=True)
class _Loaded:
    """A backbone's features, and how many seconds it took to build it and load its weights."""

    scorer: HeadScorer
    seconds: float


class _TooLateError(Exception):
    """The share of the time for features is used up."""


@contextmanager
def _advice(directory: TuneDir) -> Iterator[None]:
    """Print how to continue, if the search is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        eprint(f"The completed trials are saved. Try: {directory.resume_command}")
        raise


def require_frozen(plan: Plan) -> None:
    """Refuse a recipe that trains its backbone, or splits by folds, or data with several labels per image.

    Raises:
        UsageError: it is one.
    """
    name = plan.recipe.name
    if plan.recipe.trainer != LINEAR:
        raise UsageError(
            f"{name} cannot be tuned",
            why=f"its trainer is {plan.recipe.trainer}; the settings of {LINEAR} are searched, on cached features",
            fix="zoo tune transfer --data FOLDER",
        )
    if plan.task != "single-label":
        raise UsageError(f"{plan.dataset.name} is {plan.task}", why="settings are searched for one label per image")
    if plan.recipe.split.folds is not None:
        raise UsageError(
            "split.folds cannot be used in a search",
            why="the settings are chosen by a cross-validation of the training images; to measure the outcome, images "
            "are needed that took no part in it",
            fix=f"zoo tune {name} --data FOLDER --set split.fraction=0.2",
        )
