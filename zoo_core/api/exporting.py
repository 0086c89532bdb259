"""Taking models out of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo_core.api.inference import opener_of
from zoo_core.events import OnEvent, drive
from zoo_core.progress import handled_events
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from zoo_core.engine.export.export import ExportResult
    from zoo_core.engine.export.formats import FormatName
    from zoo_core.exported.description import Parity

MAX_DROP = 0.5  # percentage points: about the noise of an accuracy on 10,000 images


def export(
    target: str | Path,
    path: str | Path,
    *,
    format: FormatName | None = None,
    data: Path | str | None = None,
    weights: str = "pretrained",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    int8: bool = False,
    max_drop: float = MAX_DROP,
    force: bool = False,
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> ExportResult:
    """Write a run or a model to a file, in the format of its suffix, or to a folder for OpenVINO.

    An .onnx or .pt2 file and an OpenVINO folder are complete: 8-bit pixels in, probabilities out, with classes and
    preprocessing in their metadata. They are compared with PyTorch on the run's test or validation images first, and
    not written unless they give the same answers. A .safetensors file contains the weights of a run.

    Args:
        target: the path of a run, or a model's name.
        path: the .onnx, .pt2 or .safetensors file, or the folder, to write.
        format: "onnx", "openvino", "pt2" or "safetensors"; None: the one of the suffix. A folder needs "openvino".
        data: a folder or CSV file of images to compare on. Without it: a run's own data, or the data on the model's
            card; where there are none, generated pictures.
        weights: for a model: "pretrained", or a name on its card.
        dtype: for .safetensors: what floating-point tensors are rounded to.
        int8: for .onnx: compute in 8-bit integers, whose ranges are measured on training images. The fastest of several
            methods is written that loses at most `max_drop` and is faster than zoo in PyTorch.
        max_drop: percentage points of accuracy that 8 bits may cost; without labels, the share of changed answers.
        force: replace an existing file or exported folder.
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UsageError: `path` does not fit the format or exists already, or an operation of the model cannot be exported.
        DataError: the run did not finish, or its images are not where they were.
        CheckFailed: the exported model gives other answers than PyTorch, or is not better in 8 bits.
    """
    from zoo_core.engine.export.export import Export

    with handled_events(on_event, progress) as handle:
        work = Export(target, weights, registry or load_registry(), store or Store.default(), handle)
        return work.write(
            Path(path),
            data=None if data is None else Path(data),
            format_=format,
            dtype=dtype,
            max_drop=max_drop if int8 else None,
            force=force,
        )


def bench(
    target: str | Path,
    files: Sequence[str | Path] = (),
    *,
    data: Path | str | None = None,
    weights: str = "pretrained",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Parity:
    """Measure a run or a model in PyTorch and exported files side by side: accuracy, answers, time and size.

    Args:
        target: the path of a run, or a model's name.
        files: what was exported from it.
        data: a folder or CSV file of images, as in `export`.
        weights: for a model: "pretrained", or a name on its card.
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UsageError: a file is not an exported model, or has other classes or another input than the model.
        DataError: the run did not finish, or its images are not where they were.
        IntegrityError: zoo did not write a file, or it is damaged.
    """
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.engine.export.bench import bench as measure
    from zoo_core.engine.export.pictures import Pictures
    from zoo_core.exported.files import open_exported  # Pillow is imported here, not before

    opened = {path: (opener_of(path) or open_exported)(path) for path in map(Path, files)}
    registry, store = registry or load_registry(), store or Store.default()
    with handled_events(on_event, progress) as handle:
        predictor = Predictor.load(target, registry, store, weights=weights, on_event=handle)
        pictures = Pictures.open(
            registry,
            store,
            target,
            predictor.classes,
            data=None if data is None else Path(data),
            on_event=handle,
        )
        return drive(measure(predictor, opened, pictures), handle)
