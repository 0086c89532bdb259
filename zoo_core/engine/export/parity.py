"""Compares an exported model with PyTorch, before its file is written: answers, probabilities, accuracy and time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn

from zoo_core.cards.models import ImageInput
from zoo_core.engine.export.probes import generated_pixels
from zoo_core.events import Event, Progress
from zoo_core.exported.description import Parity
from zoo_core.exported.model import ExportedModel, Floats, Pixels, Run
from zoo_core.images.image_sets import ImageSet
from zoo_core.predictions import above

BATCH = 8  # images at a time
GENERATED = 16  # pictures that are compared where there are no images
ROUNDS, WARM_UP = 10, 2  # timed passes, of which the median counts


@dataclass(frozen=True)
class Pictures:
    """What two models are compared on: labeled images, or generated pictures."""

    data: str  # what they are called
    images: ImageSet | None = None

    def batches(self, model: ExportedModel) -> Iterator[Pixels]:
        """Yield (n, size, size, channels) uint8."""
        if self.images is None:
            pixels = generated_pixels(model.description.input, GENERATED)
            return (pixels[start : start + BATCH] for start in range(0, GENERATED, BATCH))
        return model.batches(self.images, range(len(self.images)), BATCH)

    def __len__(self) -> int:
        return GENERATED if self.images is None else len(self.images)


def run_torch(graph: nn.Module) -> Run:
    """Return a function that computes the outputs in PyTorch."""

    def run(pixels: Pixels) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            probabilities, logits = graph(torch.from_numpy(pixels))
        return probabilities.numpy(), logits.numpy()

    return run


def compare(reference: Run, exported: ExportedModel, pictures: Pictures) -> Generator[Event, None, Parity]:
    """Send the same pictures through both, and yield the progress.

    Raises:
        DataError: an image is damaged.
        IntegrityError: ONNX Runtime cannot compute the graph.
    """
    expected, actual = list[Floats](), list[Floats]()
    for pixels in pictures.batches(exported):
        expected.append(reference(pixels)[0])
        actual.append(exported.run(pixels)[0])
        yield Progress("comparing", sum(map(len, actual)), len(pictures), "images")
    theirs, ours = np.concatenate(expected), np.concatenate(actual)
    answers = [_answers(rows, exported.description.thresholds) for rows in (theirs, ours)]
    accuracies = [_accuracy(one, pictures.images) for one in answers]
    milliseconds, exported_milliseconds = time_both(reference, exported.run, exported.description.input)
    return Parity(
        data=pictures.data,
        images=len(theirs),
        changed=sum(one != other for one, other in zip(*answers, strict=True)),
        largest_difference=float(np.nan_to_num(np.abs(theirs - ours), nan=1.0).max()),
        accuracy=accuracies[0],
        exported_accuracy=accuracies[1],
        milliseconds=milliseconds,
        exported_milliseconds=exported_milliseconds,
    )


def _answers(rows: Floats, thresholds: Sequence[float] | None) -> list[tuple[int, ...]]:
    if thresholds is None:
        return [(int(k),) for k in rows.argmax(axis=1)]
    return [above(row, thresholds) for row in rows.tolist()]


def _accuracy(answers: Sequence[tuple[int, ...]], images: ImageSet | None) -> float | None:
    """Return the share of right answers; None for generated pictures and for several labels per image."""
    if images is None or isinstance(images.label(0), tuple):
        return None
    return sum(images.label(index) == answer[0] for index, answer in enumerate(answers)) / len(answers)


def time_both(one: Run, other: Run, spec: ImageInput) -> tuple[dict[int, float], dict[int, float]]:
    """Return the milliseconds that each takes for 1 and for 8 images, the median of alternate passes."""
    times: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for count in (1, BATCH):
        pixels = generated_pixels(spec, count)
        passes = [(_seconds(one, pixels), _seconds(other, pixels)) for _ in range(WARM_UP + ROUNDS)]
        for found, seconds in zip(times, zip(*passes[WARM_UP:], strict=True), strict=True):
            found[count] = 1000 * median(seconds)
    return times


def _seconds(run: Callable[[Pixels], object], pixels: Pixels) -> float:
    began = perf_counter()
    run(pixels)
    return perf_counter() - began
