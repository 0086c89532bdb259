"""Exports a run or a model: writes the file, but only after it was compared with PyTorch on the same images."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from os.path import isdir
from pathlib import Path

from zoo_core.cards.files import File
from zoo_core.cards.models import WeightsCard
from zoo_core.data.evaluation import default_images, open_eval_data
from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.onnx_graph import onnx_graph
from zoo_core.engine.export.parity import Pictures, compare, run_torch
from zoo_core.engine.export.probes import probes_of
from zoo_core.engine.export.weights_file import Dtype, weights_file
from zoo_core.errors import CheckFailed, UsageError, printable
from zoo_core.events import OnEvent, drive
from zoo_core.exported.description import Description, Parity
from zoo_core.exported.onnx_file import model_of, sealed
from zoo_core.registry.registry import Registry
from zoo_core.runs.directory import RunDir
from zoo_core.store.store import Store

TOLERANCE = 1e-4  # how far a probability may be from PyTorch's
PROBES = 3
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

    def write(self, path: Path, *, data: Path | None, dtype: Dtype, force: bool) -> ExportResult:
        """Write a file in the format of its suffix.

        Raises:
            UsageError: no format has this suffix, the file exists and `force` is not set, or an operation of the model
                cannot be exported.
            CheckFailed: the exported model gives other answers than PyTorch; there is no file then.
        """
        self._require_writable(path, force)
        if path.suffix == ".safetensors":
            content, covers, backbone = weights_file(self._run(path), dtype)
            return _written(path, content, covers=covers, backbone=backbone)
        # in float32 on the CPU, as the file will compute
        predictor = Predictor.load(self.target, self.registry, self.store, weights=self.weights, on_event=self.on_event)
        pictures = self._pictures(predictor, data)
        graph = ExportGraph.of(predictor)
        content, description = onnx_graph(graph, predictor.input, predictor.origin), self._description(predictor, graph)
        model = model_of(sealed(content, description), printable(str(path)))
        parity = drive(compare(run_torch(graph), model, pictures), self.on_event)
        _require_parity(parity, path)
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

    def _pictures(self, predictor: Predictor, data: Path | None) -> Pictures:
        """Return the images that the target was measured on, or those in `data`; generated ones if there are none."""
        own, dataset = (data, None) if data else default_images(self.registry, self.target)
        if own is None and dataset is None:
            return Pictures("generated pictures")
        name, images = open_eval_data(
            self.registry, self.store, self.target, predictor.classes, data=data, on_event=self.on_event
        )
        return Pictures(name, images)

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


def _require_parity(parity: Parity, path: Path) -> None:
    if parity.changed or parity.largest_difference > TOLERANCE:
        raise CheckFailed(
            f"{printable(str(path))} was not written",
            why=f"the exported model gives {parity.changed} of {parity.images:,} images another answer, and a "
            f"probability differs by {parity.largest_difference:.2g} (allowed: 0 answers, {TOLERANCE:g})",
        )


def _written(path: Path, content: bytes, **details: object) -> ExportResult:
    atomic_write(path, content)
    return ExportResult(path, len(content), hashlib.sha256(content).hexdigest(), **details)  # type: ignore[arg-type]
