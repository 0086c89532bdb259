"""The trainer: zoo's training loop with a loss of this package."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.nn import functional as F
from zoo_core import Event, Job, TrainState, class_logits

from {{ package }}.settings import {{ class }}Settings


class {{ class }}:
    """Trains on smoothed labels; everything else is as the recipe says."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place."""
        settings = {{ class }}Settings.model_validate(job.plan.settings)

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(class_logits(logits), labels, label_smoothing=settings.smoothing)

        train = job.examples("train")
        yield from job.loop().train(train, job.measures(train), resume, loss=loss)
