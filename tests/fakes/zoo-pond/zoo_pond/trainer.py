"""A trainer with its own loop, which saves in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

from zoo_core import (
    Checkpoint,
    EpochResult,
    Event,
    Job,
    Progress,
    TrainState,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from zoo_pond.settings import PatientSettings

OPTIMIZER = "optimizer."


class Patient:
    def fit(self, job: Job, resume: TrainState | None = None) -> Iterator[Event]:
        settings = PatientSettings.model_validate(job.plan.settings)
        recipe = job.plan.recipe
        images = torch.stack([T.to_image(job.train[i][0]).float() / 255 for i in range(len(job.train))])
        labels = torch.tensor([job.train[i][1] for i in range(len(job.train))])
        optimizer = make_optimizer(recipe.optimizer, job.model.parameters())
        if resume is not None:
            states = {name: tensor for name, tensor in resume.tensors.items() if name.startswith(OPTIMIZER)}
            restore_optimizer(optimizer, {name.removeprefix(OPTIMIZER): tensor for name, tensor in states.items()})
            job.model.load_state_dict({n: t for n, t in resume.tensors.items() if n not in states})
        job.model.eval()
        for epoch in range(resume.epoch if resume else 0, recipe.epochs):
            started, steps = perf_counter(), torch.arange(len(labels)).split(recipe.batch_size)
            first = resume.step if resume and resume.epoch == epoch else 0
            total = resume.values["total"] if first else 0.0
            for step in range(first, len(steps)):
                loss = F.cross_entropy(job.model(images[steps[step]]), labels[steps[step]])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
                yield Progress(f"epoch {epoch + 1}", step + 1, len(steps))
                if (step + 1) % settings.checkpoint_every == 0:
                    moments = {OPTIMIZER + name: tensor for name, tensor in optimizer_tensors(optimizer).items()}
                    tensors = {**job.model.state_dict(), **moments}
                    yield Checkpoint(TrainState(epoch, step + 1, tensors, {"total": total}))
            yield EpochResult(epoch + 1, recipe.epochs, {"loss": total / len(steps)}, perf_counter() - started)
