"""The trainer: zoo's training loop with a loss that compares the student with its teacher."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

import zoo_core as zoo
from zoo_distill.loss import distillation_loss
from zoo_distill.settings import DistillationSettings
from zoo_distill.teacher import teacher_logits


class Distillation:
    """Trains a student, the job's model, on a teacher's logits for the training images and on their labels.

    The teacher sees each image once, clean; the student sees it through the recipe's augmentation. After each epoch
    `train_accuracy`, against the labels of the dataset, and `validation_accuracy` are measured on clean images.
    """

    def fit(self, job: zoo.Job, resume: zoo.TrainState | None = None) -> Iterator[zoo.Event]:
        """Train the job's model in place.

        Raises:
            UsageError: the teacher was not trained on the data's classes.
            Diverged: the loss is NaN or infinite.
        """
        settings = DistillationSettings.model_validate(job.plan.settings)
        train = job.examples("train")
        teacher = torch.zeros(len(train.labels), len(job.plan.classes))  # unused where its weight is 0
        if settings.soft > 0:
            teacher = yield from teacher_logits(job, settings)
        loss, targets = partial(distillation_loss, settings=settings), (teacher, train.labels)
        yield from job.loop().train(train, job.measures(train), resume, loss=loss, targets=targets)
