"""From a network to a .pt2 archive, by torch.export: a graph of ATen operations and its weights, without any pickle."""

from __future__ import annotations

import io
import json

import torch

from zoo_core.cards.models import ImageInput
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.onnx_graph import reason
from zoo_core.engine.export.pt2_file import PROGRAM, Records, records_of
from zoo_core.engine.export.silence import silent
from zoo_core.errors import UsageError


def pt2_program(graph: ExportGraph, spec: ImageInput, name: str) -> Records:
    """Return the records of an archive; the number of images is free.

    Raises:
        UsageError: an operation of the network cannot be exported.
    """
    example = torch.zeros(2, spec.size, spec.size, spec.channels, dtype=torch.uint8)
    buffer = io.BytesIO()
    try:
        with silent():
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
            program._example_inputs = None  # they would be pickled
            torch.export.save(program, buffer)
    except Exception as error:  # each stage of the exporter raises its own types
        raise UsageError(f"{name} cannot be exported to .pt2", why=reason(error)) from error
    records = records_of(buffer.getvalue())
    document = json.loads(records[PROGRAM])
    for node in document["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}  # traces through the source, with the paths of this machine
    document["guards_code"] = []  # Python code, which loading would execute
    return {**records, PROGRAM: json.dumps(document).encode()}
