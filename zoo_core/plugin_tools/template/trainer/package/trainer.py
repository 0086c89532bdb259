"""The trainer: it computes and yields what happens; whoever called it shows and writes."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F
from zoo_core import Checkpoint, EpochResult, Job, Progress, TrainState

from {{ package }}.settings import {{ class }}Settings


class {{ class }}:
    """Plain gradient descent, at the recipe's learning rate, on smoothed labels."""

    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Progress | EpochResult | Checkpoint]:
        """Train the job's model in place."""
        recipe, settings = job.plan.recipe, {{ class }}Settings.model_validate(job.plan.settings)
        model = job.model.to(job.device)
        if resume is not None:
            model.load_state_dict(dict(resume.tensors))
        optimizer = torch.optim.SGD(model.parameters(), lr=recipe.optimizer.lr)
        images, labels = _tensors(job, settings.images or len(job.train))
        for epoch in range(resume.epoch if resume else 0, recipe.epochs):
            started, total = perf_counter(), 0.0
            model.train()
            torch.manual_seed(recipe.seed + epoch)  # the order, and dropout, are the same wherever we began
            steps = torch.randperm(len(labels)).split(recipe.batch_size)
            for step, chosen in enumerate(steps):
                logits = _both(model(images[chosen].to(job.device)))
                loss = F.cross_entropy(logits, labels[chosen].to(job.device), label_smoothing=settings.smoothing)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.item()
                yield Progress(f"epoch {epoch + 1}", step + 1, len(steps))
            model.eval()
            yield EpochResult(epoch + 1, recipe.epochs, {"loss": total / len(steps)}, perf_counter() - started)
            yield Checkpoint(TrainState(epoch + 1, 0, model.state_dict()))


def _tensors(job: Job, count: int) -> tuple[Tensor, Tensor]:
    """Return the first images as the model sees them, (N, C, H, W) float32, and their labels, (N,)."""
    pairs = [job.train[index] for index in range(min(count, len(job.train)))]
    return torch.stack([job.preprocessing(image) for image, _ in pairs]), torch.tensor([label for _, label in pairs])


def _both(logits: Tensor) -> Tensor:
    """Return a logit for each class: with two classes a model may have one logit, for the second."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
