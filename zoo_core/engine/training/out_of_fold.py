"""Predicts each image by a head that was fitted without it: nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import torch
from torch import Tensor

from zoo_core.engine.training.cross_validation import FittedHead
from zoo_core.engine.training.folds import assign_folds
from zoo_core.errors import DataError
from zoo_core.events import Event, with_progress

Fit = Callable[[Tensor, Tensor, Tensor | None], Generator[Event, None, FittedHead]]


def out_of_fold_logits(
    fit: Fit, rows: Tensor, targets: Tensor, groups: Tensor | None, *, classes: int, folds: int, seed: int
) -> Generator[Event, None, Tensor]:
    """Return the logits of each image (N, K) float64 by the head that was fitted on the other folds.

    `fit` chooses the strength and the temperature as well, inside the other folds: so the accuracy of these logits is
    what a head fitted in the same way can be expected to reach on new images, and not that of the best strength on
    these.

    Args:
        fit: fits a head to features, labels and groups, as `fit_head` does.
        rows: features (N, D).
        targets: labels (N,); or (N, K) of several labels per image.
        groups: the number of each image's group (N,), which is in one fold as a whole; None: each image is on its own.
        classes: K.
        folds: how many.
        seed: decides the folds.

    Raises:
        DataError: a class would have no training images where it is held out; or there are fewer images than folds.
    """
    assigned = assign_folds(targets, folds, seed, groups, all_classes=False)
    if (assigned < 0).any():
        why = "a class has a single image or group, or groups with images of several classes leave no other choice"
        raise DataError("a class cannot be divided into folds", why=why)
    logits = torch.zeros(len(rows), classes, dtype=torch.float64)
    for fold in range(folds):
        held = assigned == fold
        steps = fit(rows[~held], targets[~held], None if groups is None else groups[~held])
        fitted = yield from _of_part(steps, f"fold {fold + 1} of {folds}")
        logits[held] = fitted.logits(rows[held])
    return logits


def _of_part(steps: Generator[Event, None, FittedHead], part: str) -> Generator[Event, None, FittedHead]:
    """Pass on the progress of a part of the work under its name."""
    return with_progress(steps, lambda event: replace(event, what=f"{part}: {event.what}"))
