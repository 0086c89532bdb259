"""From a network to an OpenVINO graph, by way of ONNX: the names of inputs and outputs and the free batch size stay."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from zoo_core.cards.models import ImageInput
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.onnx_graph import onnx_graph
from zoo_core.errors import UsageError
from zoo_core.exported.openvino_folder import GRAPH, WEIGHTS, Files, need_openvino


def openvino_graph(graph: ExportGraph, spec: ImageInput, name: str) -> Files:
    """Return a graph and its weights in float32; see `onnx_graph`.

    Raises:
        UsageError: a package is missing, or an operation of the network cannot be exported.
    """
    need_openvino()
    import openvino  # an optional dependency

    content = onnx_graph(graph, spec, name)
    with TemporaryDirectory() as folder:
        try:
            model = openvino.Core().read_model(content)
            openvino.serialize(model, Path(folder) / GRAPH, Path(folder) / WEIGHTS)
        except RuntimeError as error:
            why = str(error).strip().rpartition("\n")[2]
            raise UsageError(f"{name} cannot be exported to OpenVINO", why=why) from error
        return {one: (Path(folder) / one).read_bytes() for one in (GRAPH, WEIGHTS)}
