"""The trials of a search, kept by Optuna in study.sqlite: killed at any moment, it continues with the next trial."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.engine.tuning.fold_scores import FoldScores
from zoo_core.engine.tuning.space import SearchSpace
from zoo_core.errors import DataError, IntegrityError, UsageError
from zoo_core.runs.tuning import Criterion, Trial

if TYPE_CHECKING:
    import optuna

FILE = "study.sqlite"
STARTUP = 10  # random trials before the sampler learns from them


def need_optuna() -> None:
    """Raise UsageError if the package is missing; called before anything is computed."""
    if find_spec("optuna") is None:
        raise UsageError("optuna is not installed", fix="pip install 'zoo-core[tune]'")


@contextmanager
def opened_study(directory: Path) -> Iterator[Study]:
    """Open the study of a search, or create it.

    Raises:
        DataError: its file is damaged.
    """
    import optuna  # an optional dependency
    from sqlalchemy import URL  # comes with optuna
    from sqlalchemy.exc import SQLAlchemyError  # as above

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    path = directory / FILE
    try:
        storage = optuna.storages.RDBStorage(str(URL.create("sqlite", database=str(path))))
        try:
            study = optuna.create_study(storage=storage, study_name="zoo", load_if_exists=True)
            yield Study(study)
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except SQLAlchemyError as error:
        raise DataError(f"{path} cannot be read", why=str(error).partition("\n")[0]) from error


@dataclass(frozen=True)
class Study:
    """A study, and the trials in it that were completed."""

    study: optuna.Study

    def trials(self) -> list[Trial]:
        """Return the completed trials in their order, numbered from 0; one that a kill cut off is left out."""
        import optuna  # an optional dependency

        completed = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [_trial(number, one.user_attrs) for number, one in enumerate(completed)]

    def discard_unfinished(self) -> None:
        """Mark trials that a kill cut off as failed; the sampler ignores them."""
        import optuna  # an optional dependency

        state = optuna.trial.TrialState
        for trial in self.study.get_trials(deepcopy=False, states=(state.RUNNING, state.WAITING)):
            self.study.tell(trial.number, state=state.FAIL)

    def ask(self, space: SearchSpace, seed: int, completed: int) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return the next trial and the fields that it changes; the first changes none.

        The draws depend on the seed and the completed trials only, so a resumed search continues as if never stopped.

        Raises:
            IntegrityError: the completed trials are of another search space.
        """
        import optuna  # an optional dependency

        self.study.sampler = optuna.samplers.TPESampler(seed=seed + completed, n_startup_trials=STARTUP)
        trial = self.study.ask()
        try:
            return trial, space.suggest(trial) if completed else {}
        except ValueError as error:
            why = "another version of zoo began it, or its file was changed: start a new search"
            raise IntegrityError(
                "the search cannot be continued: its settings are not those searched now", why=why
            ) from error

    def tell(
        self, trial: optuna.Trial, overrides: Mapping[str, Any], scores: FoldScores, seconds: float, by: Criterion
    ) -> None:
        """Record a trial; the values are in the file before it counts as completed."""
        fields = {"losses": scores.losses, "accuracies": scores.accuracies, "seconds": seconds}
        for name, value in {"overrides": dict(overrides), **fields}.items():
            trial.set_user_attr(name, value)
        self.study.tell(trial, _trial(0, trial.user_attrs).cost(by))


def _trial(number: int, fields: Mapping[str, Any]) -> Trial:
    losses, accuracies = tuple(fields["losses"]), tuple(fields["accuracies"])
    return Trial(number, fields["overrides"], losses, accuracies, fields["seconds"])
