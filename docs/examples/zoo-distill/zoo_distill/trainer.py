"""The trainer: it computes and yields what happens; whoever called it shows and writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from PIL import Image
from torch import Tensor

import zoo_core as zoo
from zoo_distill.answers import answers, teachers_answers
from zoo_distill.objective import distillation_loss, for_each_class
from zoo_distill.settings import DistillationSettings

MODEL, OPTIMIZER = "model.", "optimizer."  # what a TrainState's tensor names begin with
Event = zoo.Progress | zoo.EpochResult | zoo.Checkpoint


class Distillation:
    """Trains a student, the job's model, on what a teacher says of the training images, and on their labels.

    The teacher sees each image once, clean; the student sees it through the recipe's augmentation. After each epoch it
    measures `train_accuracy`, against the labels that were given, and `validation_accuracy`, both over clean images.
    """

    def fit(self, job: zoo.Job, resume: zoo.TrainState | None = None) -> Iterator[Event]:
        """Train the job's model in place.

        Raises:
            UsageError: the teacher does not know the data's classes.
            Diverged: the loss is no finite number.
        """
        settings = DistillationSettings.model_validate(job.plan.settings)
        labels = torch.tensor([job.train.label(index) for index in range(len(job.train))])
        taught = torch.zeros(len(labels), len(job.plan.classes))  # nobody is asked where nobody is listened to
        if settings.soft > 0:
            taught = yield from teachers_answers(job, settings)
        lesson = _begun(job, settings, taught, labels, resume)
        for epoch in range(resume.epoch if resume else 0, job.plan.recipe.epochs):
            yield from lesson.epoch(epoch, resume if resume and resume.epoch == epoch else None)


@dataclass(frozen=True)
class Lesson:
    """A student, and all that it learns from. What is drawn at random depends on the place in the work alone."""

    job: zoo.Job
    settings: DistillationSettings
    taught: Tensor  # (N, classes), the teacher's logits
    labels: Tensor  # (N,)
    change: Callable[[Image.Image], Image.Image]  # the recipe's augmentation
    optimizer: torch.optim.Optimizer

    def epoch(self, epoch: int, resume: zoo.TrainState | None) -> Iterator[Event]:
        """Take every step that is left of an epoch, and measure."""
        started, batches = perf_counter(), self._batches(epoch)
        first, total = (resume.step, resume.values["total"]) if resume else (0, 0.0)
        self.job.model.train()
        for step in range(first, len(batches)):
            total += self._step(batches[step], epoch, step, len(batches))
            yield zoo.Progress(f"epoch {epoch + 1}", step + 1, len(batches), "steps")
            if self.job.due():
                yield zoo.Checkpoint(self._state(epoch, step + 1, total))
        metrics, predictions = yield from self._measured(epoch)
        metrics = {"loss": total / len(batches), **metrics}
        yield zoo.EpochResult(epoch + 1, self.job.plan.recipe.epochs, metrics, perf_counter() - started, predictions)
        yield zoo.Checkpoint(self._state(epoch + 1, 0, 0.0))

    def _batches(self, epoch: int) -> tuple[Tensor, ...]:
        zoo.seed_torch(self.job.plan.recipe.seed, "order", epoch)
        order = torch.randperm(len(self.labels))
        return torch.split(order, self.job.plan.recipe.batch_size)

    def _step(self, chosen: Tensor, epoch: int, step: int, steps: int) -> float:
        """Take one step, and return its loss."""
        recipe, device = self.job.plan.recipe, self.job.device
        zoo.seed_torch(recipe.seed, "step", epoch, step)  # the augmentation's draws, and dropout's
        for group in self.optimizer.param_groups:
            group["lr"] = zoo.scheduled_rate(recipe, (epoch + step / steps) / recipe.epochs)
        logits = self._logits(chosen)
        loss = distillation_loss(logits, self.taught[chosen].to(device), self.labels[chosen].to(device), self.settings)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return self._finite(loss.item(), epoch, step)

    def _logits(self, chosen: Tensor) -> Tensor:
        """Return what the student makes of some of the images as it is trained on them: (n, classes)."""
        job = self.job
        images = torch.stack([job.preprocessing(self.change(job.train[index][0])) for index in chosen.tolist()])
        with job.precision.autocast(job.device):
            return for_each_class(job.model(job.precision.to_device(images, job.device)))

    def _measured(self, epoch: int) -> Generator[Event, None, tuple[dict[str, float], zoo.Predictions | None]]:
        """Return the accuracies, and the predictions over the validation images."""
        metrics, predictions = {}, None
        for split, images in (("train", self.job.train), ("validation", self.job.validation)):
            if images is not None:
                what = f"epoch {epoch + 1}: {split}_accuracy"
                logits = yield from answers(self.job.model, images, self.job.preprocessing, self.job, what)
                predictions = _predictions(images, logits) if split == "validation" else None
                labels = torch.tensor([images.label(index) for index in range(len(images))])
                metrics[f"{split}_accuracy"] = (logits.argmax(dim=1) == labels).float().mean().item()
        return metrics, predictions

    def _state(self, epoch: int, step: int, total: float) -> zoo.TrainState:
        tensors = {MODEL + name: tensor for name, tensor in self.job.model.state_dict().items()}
        tensors |= {OPTIMIZER + name: tensor for name, tensor in zoo.optimizer_tensors(self.optimizer).items()}
        return zoo.TrainState(epoch, step, tensors, {"total": total})

    def _finite(self, loss: float, epoch: int, step: int) -> float:
        if math.isfinite(loss):
            return loss
        recipe = self.job.plan.recipe
        raise zoo.Diverged(
            f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}",
            why=f"{recipe.optimizer.name} with a learning rate of {recipe.optimizer.lr:g} went too far",
            fix=f"zoo run {recipe.name} --lr {recipe.optimizer.lr / 10:g}",
        )


def _begun(
    job: zoo.Job, settings: DistillationSettings, taught: Tensor, labels: Tensor, resume: zoo.TrainState | None
) -> Lesson:
    """Return the lesson, where the resumed state left it."""
    job.precision.to_memory_format(job.model.to(job.device))
    fused = not job.precision.plain  # as the core's loop: one pass over all parameters
    optimizer = zoo.make_optimizer(job.plan.recipe.optimizer, job.model.parameters(), fused=fused)
    if resume is not None:
        job.model.load_state_dict(_below(MODEL, resume))
        zoo.restore_optimizer(optimizer, _below(OPTIMIZER, resume))
    change = zoo.augmentation(job.plan.recipe.augment) if job.plan.recipe.augment else _unchanged
    return Lesson(job, settings, taught, labels, change, optimizer)


def _unchanged(image: Image.Image) -> Image.Image:
    return image


def _below(prefix: str, state: zoo.TrainState) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)}


def _predictions(images: zoo.ImageSet, logits: Tensor) -> zoo.Predictions:
    names, labels = zip(*((images.name(index), images.label(index)) for index in range(len(images))), strict=True)
    return zoo.Predictions(names, labels, tuple(map(tuple, logits.softmax(dim=1).tolist())))
