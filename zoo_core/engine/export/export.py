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
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.export.formats import (
    FORMATS,
    ExportFormat,
    FormatName,
    format_of,
    require_free,
    write,
)
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.parity import Pictures, compare, run_torch
from zoo_core.engine.export.probes import probes_of
from zoo_core.engine.export.weights_file import Dtype, weights_file
from zoo_core.errors import CheckFailed, UsageError, printable
from zoo_core.events import OnEvent, drive
from zoo_core.exported.description import Description, Parity
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
        self, path: Path, *, format_: FormatName | None, data: Path | None, dtype: Dtype, force: bool
    ) -> ExportResult:
        """Write a file or a folder in a format; None: the one of the path's suffix.

        Raises:
            UsageError: no format has this suffix, the path exists and `force` is not set, or an operation of the model
                cannot be exported.
            CheckFailed: the exported model gives other answers than PyTorch; nothing is written then.
        """
        command = f"zoo export {shlex.quote(str(self.target))}"
        name = format_of(path, format_, command)
        require_free(path, name, command, force=force)
        if name == "safetensors":
            content, covers, backbone = weights_file(self._run(path), dtype)
            return ExportResult(path, *write(path, content), covers=covers, backbone=backbone)
        return self._write_model(path, FORMATS[name], data)

    def _write_model(self, path: Path, form: ExportFormat, data: Path | None) -> ExportResult:
        """Convert, compare with PyTorch on the CPU in float32, as the file will compute, and write."""
        predictor = Predictor.load(self.target, self.registry, self.store, weights=self.weights, on_event=self.on_event)
        pictures, graph = self._pictures(predictor, data), ExportGraph.of(predictor)
        content = form.convert(graph, predictor.input, predictor.origin)
        description = self._description(predictor, graph)
        model = form.open(form.seal(content, description), printable(str(path)))
        parity = drive(compare(run_torch(graph), model, pictures), self.on_event)
        _require_parity(parity, path)
        complete = form.seal(content, description.model_copy(update={"parity": parity}))
        return ExportResult(path, *write(path, complete), parity=parity)

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


def _hashes(cards: tuple[WeightsCard, ...]) -> Mapping[str, str]:
    return {card.name: card.file.sha256 for card in cards if isinstance(card.file, File)}


def _require_parity(parity: Parity, path: Path) -> None:
    if parity.changed or parity.largest_difference > TOLERANCE:
        raise CheckFailed(
            f"{printable(str(path))} was not written",
            why=f"the exported model gives {parity.changed} of {parity.images:,} images another answer, and a "
            f"probability differs by {parity.largest_difference:.2g} (allowed: 0 answers, {TOLERANCE:g})",
        )
