"""Compares ways to compute a model on the same images: answers, probabilities, accuracy and time."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
import torch

from zoo_core.cards.models import ImageInput
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.pictures import BATCH, Pictures
from zoo_core.engine.export.probes import generated_pixels
from zoo_core.engine.models.inference import optimize_for_inference
from zoo_core.events import Event, Progress
from zoo_core.exported.description import Measured, Parity
from zoo_core.exported.model import Floats, Pixels, Run
from zoo_core.predictions import above

PASSES, WARM_UP = 10, 2  # timed passes, of which the median counts, and those before them


@dataclass(frozen=True)
class Way:
    """A way to compute a model."""

    run: Run
    size: int  # bytes of its weights or its file


def torch_ways(predictor: Predictor, graph: ExportGraph) -> dict[str, Way]:
    """Return how PyTorch computes a model, by name: in float32, and as zoo does by default, perhaps in bfloat16."""
    precision = Precision.pick("auto", torch.device("cpu"))
    network = optimize_for_inference(predictor.model, predictor.input, precision)
    own = ExportGraph(network, predictor.input, multi_label=graph.multi_label).eval()
    name = str(precision.dtype).removeprefix("torch.")
    return {"PyTorch float32": _way(graph), f"PyTorch {name}, by zoo's default": _way(own)}


def _way(graph: ExportGraph) -> Way:
    return Way(run_torch(graph), sum(tensor.nbytes for tensor in graph.network.state_dict().values()))


def run_torch(graph: torch.nn.Module) -> Run:
    """Return a function that computes a graph's outputs in PyTorch."""

    def run(pixels: Pixels) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            probabilities, logits = graph(torch.from_numpy(pixels))
        return probabilities.numpy(), logits.numpy()

    return run


def compare(
    ways: Mapping[str, Way], pictures: Pictures, spec: ImageInput, thresholds: Sequence[float] | None
) -> Generator[Event, None, Parity]:
    """Send the same pictures through all ways, and yield the progress; the first one is what the others should equal.

    Args:
        ways: by name.
        pictures: what to compare on.
        spec: the preprocessing, which all share.
        thresholds: from which each class is predicted; None: each image has one class.

    Raises:
        DataError: an image is damaged.
        IntegrityError: a runtime cannot compute the graph.
    """
    outputs: dict[str, list[Floats]] = {name: [] for name in ways}
    done = 0
    for pixels in pictures.batches(spec):
        for name, way in ways.items():
            outputs[name].append(way.run(pixels)[0])
        done += len(pixels)
        yield Progress("comparing", done, len(pictures), "images")
    times = _milliseconds(ways, spec)
    rows = {name: np.concatenate(parts) for name, parts in outputs.items()}
    expected = next(iter(rows.values()))
    measured = []
    for name, way in ways.items():
        answers, theirs = (_answers(one, thresholds) for one in (rows[name], expected))
        measured.append(
            Measured(
                name=name,
                accuracy=_accuracy(answers, pictures),
                changed=sum(one != other for one, other in zip(answers, theirs, strict=True)),
                largest_difference=float(np.nan_to_num(np.abs(rows[name] - expected), nan=1.0).max()),
                milliseconds=times[name],
                size=way.size,
            )
        )
    return Parity(data=pictures.data, images=done, ways=tuple(measured))


def _answers(rows: Floats, thresholds: Sequence[float] | None) -> list[tuple[int, ...]]:
    if thresholds is None:
        return [(int(k),) for k in rows.argmax(axis=1)]
    return [above(row, thresholds) for row in rows.tolist()]


def _accuracy(answers: Sequence[tuple[int, ...]], pictures: Pictures) -> float | None:
    images = pictures.images
    if images is None or not pictures.labeled or isinstance(images.label(0), tuple):
        return None
    return sum(images.label(index) == answer[0] for index, answer in enumerate(answers)) / len(answers)


def _milliseconds(ways: Mapping[str, Way], spec: ImageInput) -> dict[str, dict[int, float]]:
    """Return how long each way takes for 1 and for 8 images: the median of passes that take turns."""
    times: dict[str, dict[int, float]] = {name: {} for name in ways}
    for count in (1, BATCH):
        pixels = generated_pixels(spec, count)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(WARM_UP + PASSES):
            for name, way in ways.items():
                began = perf_counter()
                way.run(pixels)
                seconds[name].append(perf_counter() - began)
        for name, passes in seconds.items():
            times[name][count] = 1000 * median(passes[WARM_UP:])
    return times
