"""Exports a run or a model: writes the file, but only after it was compared with PyTorch on the same images."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.cards.files import File
from zoo_core.data.evaluation import default_images
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.formats import (
    FORMATS,
    FormatName,
    format_of,
    require_free,
    size_of,
    write,
)
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.int8 import CALIBRATION, METHODS, acceptable, quantized_graphs, refusal
from zoo_core.engine.export.parity import Way, compare, torch_ways
from zoo_core.engine.export.pictures import Pictures
from zoo_core.engine.export.probes import probes_of
from zoo_core.engine.export.weights_file import Dtype, weights_file
from zoo_core.errors import CheckFailed, UsageError, printable
from zoo_core.events import OnEvent, drive
from zoo_core.exported.description import Description, Measured, Parity
from zoo_core.exported.model import Pixels
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

TOLERANCE = 1e-4  # how far a probability may be from PyTorch's
PROBES = 3


@dataclass(frozen=True)
class ExportResult:
    """What was written: `covers` and `backbone` as on a WeightsCard, `parity` for formats that replace PyTorch."""

    path: Path
    size: int  # bytes
    sha256: str  # of a folder: of its SHA256SUMS
    covers: str = "all"  # or "head"
    backbone: str | None = None  # the backbone weights below a head
    parity: Parity | None = None


@dataclass(frozen=True)
class Export:
    """What is exported: a run or a model with its weights, and where names are looked up."""

    target: str | Path
    weights: str
    registry: Registry
    store: Store
    on_event: OnEvent

    def write(
        self,
        path: Path,
        *,
        format_: FormatName | None,
        data: Path | None,
        dtype: Dtype,
        max_drop: float | None,
        force: bool,
    ) -> ExportResult:
        """Write a file or a folder in a format; None: the one of the path's suffix. See `zoo_core.export`.

        With `max_drop`, an .onnx file computes in 8-bit integers, and loses at most so many points of accuracy.

        Raises:
            UsageError: no format has this suffix, the path exists and `force` is not set, an operation of the model
                cannot be exported, or the format has no 8-bit integers.
            CheckFailed: the exported model gives other answers than PyTorch, or in 8 bits it loses more than `max_drop`
                or is not faster; nothing is written then.
        """
        command = f"zoo export {shlex.quote(str(self.target))}"
        name = format_of(path, format_, command)
        require_free(path, name, command, force=force)
        if max_drop is not None and name != "onnx":
            fix = f"{command} {shlex.quote(str(path.with_suffix('.onnx')))} --int8"
            raise UsageError(f"the format {name} is not written in 8 bits", why="onnx is", fix=fix)
        if name == "safetensors":
            if self._run is None:
                fix = f"{command} {shlex.quote(str(path.with_suffix('.onnx')))}"
                raise UsageError(f"{self.target} is a model; its weights are exported from a run alone", fix=fix)
            content, covers, backbone = weights_file(self._run, dtype)
            return ExportResult(path, *write(path, content), covers=covers, backbone=backbone)
        return self._write_model(path, name, data, max_drop)

    def _write_model(self, path: Path, name: FormatName, data: Path | None, max_drop: float | None) -> ExportResult:
        """Convert, compare with PyTorch on the CPU in float32, as the file will compute, and write."""
        predictor = Predictor.load(self.target, self.registry, self.store, weights=self.weights, on_event=self.on_event)
        pictures, graph, form = self._pictures(predictor, data), ExportGraph.of(predictor), FORMATS[name]
        description, floating = self._description(predictor, graph), f"{name} float32"
        made = {floating: (form.convert(graph, predictor.input, predictor.origin), description)}
        if max_drop is not None:
            integers = description.model_copy(update={"quantized": True})
            graphs = quantized_graphs(made[floating][0], self._calibration(predictor, data))
            made |= {method: (small, integers) for method, small in graphs.items()}
        ways = torch_ways(predictor, graph)
        for way, one in made.items():
            content = form.seal(*one)
            ways[way] = Way(form.open(content, printable(str(path))).run, size_of(content))
        parity = drive(compare(ways, pictures, predictor.input, predictor.thresholds), self.on_event)
        chosen = _chosen(parity, parity.way(floating), path, max_drop)
        kept = tuple(way for way in parity.ways if way.name not in METHODS or way == chosen)
        parity = parity.model_copy(update={"ways": kept})
        content, description = made[chosen.name]
        complete = form.seal(content, description.model_copy(update={"parity": parity}))
        return ExportResult(path, *write(path, complete), parity=parity)

    @cached_property
    def _run(self) -> RunDir | None:
        """The run that is exported; None: it is a model."""
        return None if str(self.target) in self.registry.models else RunDir.open(Path(self.target))

    def _pictures(self, predictor: Predictor, data: Path | None, split: Split | None = None) -> Pictures:
        return Pictures.open(
            self.registry,
            self.store,
            self.target,
            predictor.classes,
            data=data,
            split=split,
            on_event=self.on_event,
        )

    def _calibration(self, predictor: Predictor, data: Path | None) -> list[Pixels]:
        if found := self._pictures(predictor, data, "train").sample(predictor.input, CALIBRATION):
            return found
        raise UsageError(
            f"{self.target} names no images to calibrate on",
            why="the ranges of 8-bit integers are measured on real ones",
            fix=f"zoo export {self.target} FILE.onnx --int8 --data FOLDER",
        )

    def _description(self, predictor: Predictor, graph: ExportGraph) -> Description:
        if self._run is None:
            cards, origin = predictor.card.select(self.weights).cards, predictor.origin
            license_of_data, hash_of_run = {}, {}
        else:
            plan = self._run.plan()
            cards, origin = plan.weights, f"run {self._run.path.resolve().name}"
            license_of_data = {"data": plan.dataset.license}
            hash_of_run = {"run": hashlib.sha256(self._run.read_weights()).hexdigest()}
        files = {card.name: card.file.sha256 for card in cards if isinstance(card.file, File)}
        return Description(
            zoo=version("zoo-core"),
            model=predictor.card.name,
            origin=origin,
            task="single-label" if predictor.thresholds is None else "multi-label",
            classes=predictor.classes,
            thresholds=predictor.thresholds,
            input=predictor.input,
            dataset=default_images(self.registry, self.target)[1],
            licenses={card.name: card.license for card in cards} | license_of_data,
            hashes=files | hash_of_run,
            probes=probes_of(graph, predictor.input, PROBES),
        )


def _chosen(parity: Parity, floating: Measured, path: Path, max_drop: float | None) -> Measured:
    """Return the way to write: the float one if it equals PyTorch, or with `max_drop` the best of int8."""
    if floating.changed or floating.largest_difference > TOLERANCE:
        why = (
            f"the exported model gives {floating.changed} of {parity.images:,} images another answer, and "
            f"a probability differs by {floating.largest_difference:.2g} (allowed: 0 answers, {TOLERANCE:g})"
        )
        raise CheckFailed(f"{printable(str(path))} was not written", why=why)
    if max_drop is None:
        return floating
    if best := acceptable(parity, max_drop):
        return best[0]
    raise CheckFailed(
        f"{printable(str(path))} was not written",
        why=refusal(parity, max_drop),
        fix="leave --int8 out, or allow a larger --max-drop",
    )
