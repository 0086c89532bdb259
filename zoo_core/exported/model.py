"""A model that was exported, without torch: it predicts and evaluates as the model in PyTorch does."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo_core.cards.models import ImageInput
from zoo_core.errors import DataError, IntegrityError
from zoo_core.events import Event, Predictions, Progress
from zoo_core.exported.description import Description
from zoo_core.images.batching import inference_batch_size, prefetch_map
from zoo_core.images.fit import FitImage
from zoo_core.images.image_sets import ImageSet, names_of
from zoo_core.images.sources import ImageSource
from zoo_core.multi_label import MultiLabelTable
from zoo_core.predictions import Prediction, PredictionTable
from zoo_core.results import Evaluation

Pixels = NDArray[np.uint8]  # (N, size, size, channels)
Floats = NDArray[np.float32]
Run = Callable[[Pixels], tuple[Floats, Floats]]  # pixels -> probabilities (N, K), logits (N, K)


@dataclass(frozen=True)
class ExportedModel:
    """A model with its preprocessing and its classes, as an exported file holds them."""

    description: Description
    compute: Run  # the graph, by the runtime of the file's format
    origin: str  # the file

    def __repr__(self) -> str:
        size, count = self.description.input.size, len(self.classes)
        return f"<ExportedModel {self.origin}: {self.description.model}, {count} classes, {size} × {size}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the outputs."""
        return self.description.classes

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability from which each class is predicted; None: each image has one class."""
        return self.description.thresholds

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Return probabilities (N, K) and logits (N, K) for pixels (N, size, size, channels).

        Raises:
            IntegrityError: the graph cannot be computed, or does not return so many numbers.
        """
        probabilities, logits = self.compute(pixels)
        if not probabilities.shape == logits.shape == (len(pixels), len(self.classes)):
            raise IntegrityError("the graph does not return a probability for each class", why=f"{probabilities.shape}")
        return probabilities, logits

    def predict_each(self, images: Sequence[ImageSource]) -> Iterator[Prediction | DataError]:
        """Yield, in order, a prediction for each image, or the error that explains why it cannot be read.

        Raises:
            IntegrityError: the model's outputs are not finite.
        """
        for batch in prefetch_map(self._read, images, inference_batch_size(self.description.input)):
            readable = [pixels for _, pixels in batch if not isinstance(pixels, DataError)]
            rows = iter(self._probabilities(np.stack(readable)).tolist() if readable else ())
            for name, pixels in batch:
                if isinstance(pixels, DataError):
                    yield pixels
                else:
                    yield Prediction.of(name, self.classes, next(rows), self.description.thresholds)

    def _read(self, image: ImageSource) -> tuple[str, Pixels | DataError]:
        name, read = image
        try:
            return name, pixels_of(read(), self.description.input)
        except DataError as error:  # returned, so that it appears in its image's position
            return name, error

    def _probabilities(self, pixels: Pixels) -> Floats:
        probabilities, _ = self.run(pixels)
        self._require_finite(probabilities)
        return probabilities

    def _require_finite(self, values: Floats) -> None:
        if not np.isfinite(values).all():
            raise IntegrityError(f"{self.origin} gives probabilities that are not finite")

    def evaluate(self, images: ImageSet) -> Generator[Event, None, Evaluation]:
        """Return the model's metrics on labeled images.

        Raises:
            DataError: an image is damaged.
            IntegrityError: the model's outputs are not finite.
        """
        size, parts, done = inference_batch_size(self.description.input), list[tuple[Floats, Floats]](), 0
        for pixels in pixel_batches(images, self.description.input, size):
            parts.append(self.run(pixels))
            done += len(pixels)
            yield Progress("evaluating", done, len(images), "images")
        probabilities, logits = (np.concatenate(one) for one in zip(*parts, strict=True))
        self._require_finite(logits)
        labels: Any = tuple(images.label(index) for index in range(len(images)))
        predictions = Predictions(names_of(images), labels, tuple(map(tuple, probabilities.tolist())))
        if self.description.task == "multi-label":
            table = MultiLabelTable.of(predictions, self.classes, self.description.thresholds)
            return Evaluation(_binary_loss(logits, labels), table, model=self.origin, precision=self.precision)
        return Evaluation(
            _loss(logits, labels),
            PredictionTable.of(predictions, self.classes),
            model=self.origin,
            precision=self.precision,
        )

    @property
    def precision(self) -> str:
        """What it computes in."""
        return "int8" if self.description.quantized else "float32"

    def probe_differences(self) -> list[float]:
        """Return, for each probe, the largest difference of a probability from the one that the file records."""
        differences = []
        for probe in self.description.probes:
            picture = Image.open(io.BytesIO(base64.b64decode(probe.png)), formats=("PNG",))
            found = self._probabilities(pixels_of(picture, self.description.input)[None])[0]
            differences.append(float(np.abs(found - np.array(probe.probabilities)).max()))
        return differences


def pixels_of(image: Image.Image, spec: ImageInput) -> Pixels:
    """Return a PIL image as a model sees it, before pixels are normalized: (size, size, channels) uint8."""
    return np.asarray(FitImage(spec)(image)).reshape(spec.size, spec.size, spec.channels)


def pixel_batches(
    images: ImageSet, spec: ImageInput, size: int, indices: Sequence[int] | None = None
) -> Iterator[Pixels]:
    """Yield images as (n, size, size, channels) uint8: all of them, or those with these indices, in order.

    Threads decode the next batch.

    Raises:
        DataError: an image is damaged.
    """
    chosen = range(len(images)) if indices is None else indices
    return map(np.stack, prefetch_map(lambda index: pixels_of(images[index][0], spec), chosen, size))


def _loss(logits: Floats, labels: Sequence[int]) -> float:
    """Return the mean cross-entropy of logits (N, K)."""
    wide = logits.astype(np.float64)
    chosen = wide[np.arange(len(wide)), list(labels)]
    highest = wide.max(axis=1)
    return float((highest + np.log(np.exp(wide - highest[:, None]).sum(axis=1)) - chosen).mean())


def _binary_loss(logits: Floats, labels: Sequence[tuple[int, ...]]) -> float:
    """Return the mean binary cross-entropy of logits (N, K)."""
    targets = np.zeros(logits.shape)
    for row, label in zip(targets, labels, strict=True):
        row[list(label)] = 1.0
    return float((np.logaddexp(0, logits.astype(np.float64)) - targets * logits).mean())
