"""Exports a run or a model: writes the file, but only after it was compared with PyTorch on the same images."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from os.path import isdir
from pathlib import Path

from zoo_core.cards.fields import Split
from zoo_core.cards.files import File
from zoo_core.cards.models import WeightsCard
from zoo_core.data.evaluation import default_images
from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.int8 import CALIBRATION, METHODS, acceptable, quantized_graphs, refusal
from zoo_core.engine.export.onnx_graph import onnx_graph
from zoo_core.engine.export.parity import Way, compare, torch_ways
from zoo_core.engine.export.pictures import Pictures
from zoo_core.engine.export.probes import probes_of
from zoo_core.engine.export.weights_file import Dtype, weights_file
from zoo_core.errors import CheckFailed, UsageError, printable
from zoo_core.events import OnEvent, drive
from zoo_core.exported.description import Description, Measured, Parity
from zoo_core.exported.model import Pixels
from zoo_core.exported.onnx_file import model_of, sealed
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

TOLERANCE = 1e-4  # how far a probability may be from PyTorch's
PROBES = 3
READER = "reader.py"  # of zoo_core.exported: a program that uses the file without zoo
FLOAT = "ONNX float32"
SUFFIXES = (".onnx", ".safetensors")


@dataclass(frozen=True)
class ExportResult:
    """A written file: `covers` and `backbone` as on a WeightsCard, `parity` for formats that replace PyTorch."""

    path: Path
    size: int  # bytes
    sha256: str
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
        self, path: Path, *, data: Path | None, dtype: Dtype, int8: bool, max_drop: float, force: bool
    ) -> ExportResult:
        """Write a file in the format of its suffix; see `zoo_core.export`.

        Raises:
            UsageError: no format has this suffix, the file exists and `force` is not set, or an operation of the model
                cannot be exported.
            CheckFailed: the exported model gives other answers than PyTorch, or with `int8` loses more than `max_drop`
                points or is not faster; there is no file then.
        """
        self._require_writable(path, force)
        if path.suffix == ".safetensors":
            content, covers, backbone = weights_file(self._run(path), dtype)
            return _written(path, content, covers=covers, backbone=backbone)
        # in float32 on the CPU, as the file will compute
        predictor = Predictor.load(self.target, self.registry, self.store, weights=self.weights, on_event=self.on_event)
        pictures, graph = self._pictures(predictor, data), ExportGraph.of(predictor)
        description = self._description(predictor, graph)
        content = onnx_graph(graph, predictor.input, predictor.origin)
        made = {FLOAT: (content, description)}
        if int8:
            integers = description.model_copy(update={"quantized": True})
            graphs = quantized_graphs(content, self._calibration(predictor, data))
            made |= {name: (small, integers) for name, small in graphs.items()}
        ways = torch_ways(predictor, graph)
        for name, file in made.items():
            sealed_file = sealed(*file)
            ways[name] = Way(model_of(sealed_file, printable(str(path))).run, len(sealed_file))
        parity = drive(compare(ways, pictures, predictor.input, predictor.thresholds), self.on_event)
        chosen = _chosen(parity, path, max_drop if int8 else None)
        content, description = made[chosen.name]
        others = tuple(way for way in parity.ways if way.name not in METHODS or way == chosen)
        parity = parity.model_copy(update={"ways": others})
        return _written(path, sealed(content, description.model_copy(update={"parity": parity})), parity=parity)

    def _run(self, path: Path) -> RunDir:
        if self._is_model:
            raise UsageError(
                f"{self.target} is a model; its weights are exported from a run alone",
                fix=f"zoo export {self.target} {shlex.quote(str(path.with_suffix('.onnx')))}",
            )
        return RunDir.open(Path(self.target))

    @property
    def _is_model(self) -> bool:
        return str(self.target) in self.registry.models or not isdir(self.target)  # noqa: PTH112 - as in Predictor.load

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
        plan = None if self._is_model else RunDir.open(Path(self.target)).plan()
        cards = plan.weights if plan else predictor.card.select(self.weights).cards
        own = {"run": hashlib.sha256(RunDir.open(Path(self.target)).read_weights()).hexdigest()} if plan else {}
        return Description(
            zoo=version("zoo-core"),
            model=predictor.card.name,
            origin=f"run {Path(self.target).resolve().name}" if plan else predictor.origin,
            task="single-label" if predictor.thresholds is None else "multi-label",
            classes=predictor.classes,
            thresholds=predictor.thresholds,
            input=predictor.input,
            dataset=default_images(self.registry, self.target)[1],
            licenses={card.name: card.license for card in cards} | ({"data": plan.dataset.license} if plan else {}),
            hashes={**_hashes(cards), **own},
            probes=probes_of(graph, predictor.input, PROBES),
        )

    def _require_writable(self, path: Path, force: bool) -> None:
        command = f"zoo export {shlex.quote(str(self.target))}"
        if path.suffix not in SUFFIXES:
            raise UsageError(
                f"cannot export to {printable(str(path))}",
                why=f"{path.suffix or 'a name without a suffix'} is not supported; {' and '.join(SUFFIXES)} are",
                fix=f"{command} {shlex.quote(str(path.with_suffix('.onnx')))}",
            )
        if path.exists() and not force:
            raise UsageError(f"{printable(str(path))} exists", fix=f"{command} {shlex.quote(str(path))} --force")


def _hashes(cards: tuple[WeightsCard, ...]) -> Mapping[str, str]:
    return {card.name: card.file.sha256 for card in cards if isinstance(card.file, File)}


def _chosen(parity: Parity, path: Path, max_drop: float | None) -> Measured:
    """Return the way to write: the float one if it equals PyTorch, or with `max_drop` the best of int8."""
    floating = next(way for way in parity.ways if way.name == FLOAT)
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


def _written(path: Path, content: bytes, **details: object) -> ExportResult:
    atomic_write(path, content)
    reader = path.with_name(READER)
    if path.suffix == ".onnx" and not reader.exists():  # it may be one that was changed
        atomic_write(reader, (files("zoo_core.exported") / READER).read_bytes())
    return ExportResult(path, len(content), hashlib.sha256(content).hexdigest(), **details)  # type: ignore[arg-type]
