"""Taking models out of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo_core.events import OnEvent
from zoo_core.progress import handled_events
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from zoo_core.engine.export.export import ExportResult
    from zoo_core.engine.export.formats import FormatName


def export(
    target: str | Path,
    path: str | Path,
    *,
    format: FormatName | None = None,
    data: Path | str | None = None,
    weights: str = "pretrained",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
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
        force: replace an existing file or exported folder.
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UsageError: `path` does not fit the format or exists already, or an operation of the model cannot be exported.
        DataError: the run did not finish, or its images are not where they were.
        CheckFailed: the exported model gives other answers than PyTorch.
    """
    from zoo_core.engine.export.export import Export

    with handled_events(on_event, progress) as handle:
        work = Export(target, weights, registry or load_registry(), store or Store.default(), handle)
        return work.write(
            Path(path), format_=format, data=None if data is None else Path(data), dtype=dtype, force=force
        )
