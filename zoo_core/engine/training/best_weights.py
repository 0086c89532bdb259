"""The weights and predictions of a run's best epoch, on disk while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_core.engine.models.weights import load_tensors, save_tensors
from zoo_core.engine.training.monitor import Monitor
from zoo_core.engine.training.trainer import Job
from zoo_core.errors import IntegrityError, PluginError
from zoo_core.events import EpochResult
from zoo_core.predictions import PredictionTable
from zoo_core.runs.directory import RunDir
from zoo_core.runs.files import PREDICTIONS

TENSORS = "weights.safetensors"


@dataclass(frozen=True)
class BestWeights:
    """Saves the best epoch when it ends, and loads it into the model after the last.

    An epoch stays on disk as long as a checkpoint may need it: until it is best neither now nor at any checkpoint.
    """

    job: Job
    base: Mapping[str, Tensor]  # the weights the run starts from
    names: frozenset[str]  # of all tensors of the model
    monitor: Monitor

    @classmethod
    def of(cls, job: Job, base: Mapping[str, Tensor]) -> BestWeights:
        """Return those of a job that has not begun."""
        return cls(job, base, frozenset(job.model.state_dict()), Monitor.of(job.plan))

    def save(self, run: RunDir, epochs: Sequence[EpochResult]) -> None:
        """Save the epoch that has just ended, if it is the best so far.

        Raises:
            ResourceError: it could not be written.
            PluginError: the trainer has taken the model apart at the end of an epoch.
        """
        if self.monitor.keep == "last" or not run.writes or self.monitor.best(epochs) != len(epochs) - 1:
            return
        state = self.job.model.state_dict()
        if self.names != state.keys():
            why = f"when an epoch ends, the model has no {min(self.names.symmetric_difference(state))!r}"
            raise PluginError(f"the trainer {self.job.plan.trainer.name} is invalid", why=why)
        files = {TENSORS: save_tensors(changed_tensors(self.job.model, self.base))}
        table, plan = epochs[-1].predictions, self.job.plan
        if table is not None:
            files[PREDICTIONS] = PredictionTable.of(table, plan.classes, plan.task).to_csv()
        run.best.save(len(epochs), 0, files)
        self.forget_worse(run, epochs)

    def forget_worse(self, run: RunDir, epochs: Sequence[EpochResult]) -> None:
        """Delete the epochs that are the best neither now nor at a checkpoint."""
        if self.monitor.keep == "last" or not run.writes or not epochs:
            return
        finished = [len(epochs), *(int(name.partition("-")[0]) for name in run.checkpoints.names())]
        run.best.retain({_name(self.monitor.best(epochs[:count])) for count in finished if 0 < count <= len(epochs)})

    def require(self, run: RunDir, epochs: Sequence[EpochResult]) -> None:
        """Check that the best of the epochs that were finished at a checkpoint is on disk.

        Raises:
            IntegrityError: it is missing or damaged, so training cannot resume from there.
        """
        if self.monitor.keep == "best" and epochs:
            run.best.read(_name(self.monitor.best(epochs)))

    def load(self, run: RunDir, epochs: Sequence[EpochResult]) -> None:
        """Load the best epoch into the model, on every rank, and make its predictions those of the run.

        Raises:
            IntegrityError: what was saved is damaged.
        """
        if self.monitor.keep == "last" or not epochs:
            return
        saved = dict(run.best.read(_name(self.monitor.best(epochs))).files) if run.writes else {}
        files = self.job.world.broadcast(saved)
        try:
            self.job.model.load_state_dict({**self.base, **load_tensors(files[TENSORS], TENSORS)})
        except (LookupError, RuntimeError) as error:
            why = str(error).partition("\n")[0]
            raise IntegrityError("the weights of the best epoch do not fit this run", why=why) from error
        if PREDICTIONS in files:
            run.write_predictions(PredictionTable.from_csv(files[PREDICTIONS]))


def changed_tensors(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that differ from the weights the run started from."""
    state = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if name not in base or not torch.equal(tensor, base[name])}


def _name(index: int) -> str:
    """Return the name of the folder of the epoch with this index."""
    return f"{index + 1:06d}-{0:09d}"
