"""From a network to an ONNX graph, by PyTorch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import torch

from zoo_core.cards.models import ImageInput
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.errors import UsageError
from zoo_core.exported.onnx_file import INPUT, OPSET, OUTPUTS


def onnx_graph(graph: ExportGraph, spec: ImageInput, name: str) -> bytes:
    """Return an ONNX model as bytes, its weights inside; the number of images is free.

    Args:
        graph: what to export.
        spec: the size of its images.
        name: what error messages call the model.

    Raises:
        UsageError: a package is missing, or an operation of the network cannot be exported.
    """
    if missing := [package for package in ("onnx", "onnxscript") if find_spec(package) is None]:
        raise UsageError(f"{' and '.join(missing)} not installed", fix="pip install 'zoo-core[onnx]'")
    example = torch.zeros(2, spec.size, spec.size, spec.channels, dtype=torch.uint8)
    try:
        with silent():
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # each stage of the exporter raises its own types
        raise UsageError(f"{name} cannot be exported to ONNX", why=reason(error)) from error
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def reason(error: BaseException) -> str:
    """Return what an exporter's error is about: the operation if it names one, else its last cause's first line."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    for one in causes:
        if found := re.search(r"\b(?:aten|torchvision|prims)[.:]+\w+(?:\.\w+)?", str(one)):
            return f"the operation {found[0]} has no equivalent"
    return str(causes[-1]).strip().partition("\n")[0] or type(causes[-1]).__name__


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Discard what the exporter prints and warns about: it reports its stages, not the model's."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
