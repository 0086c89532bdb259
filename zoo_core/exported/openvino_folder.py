"""The OpenVINO folders that zoo writes: a graph, its weights, their description, and the checksums of all three.

A folder is read as untrusted: only these files are opened, their sizes are limited, they are read once and checked
before OpenVINO sees them, and no extension is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo_core.errors import IntegrityError, UsageError, printable
from zoo_core.exported.description import Description
from zoo_core.exported.model import ExportedModel, Floats, Pixels, Run
from zoo_core.exported.onnx_file import INPUT, MAX_NODES, OUTPUTS
from zoo_core.exported.reading import checksums, read_limited

if TYPE_CHECKING:
    import openvino

GRAPH, WEIGHTS, DESCRIPTION, CHECKSUMS = "model.xml", "model.bin", "zoo.json", "SHA256SUMS"
LIMITS = {GRAPH: 1 << 27, WEIGHTS: 1 << 32, DESCRIPTION: 1 << 26, CHECKSUMS: 1 << 10}  # bytes
# A CPU with bfloat16 would use it without being asked, and differ from PyTorch by more than 1e-3. LATENCY lets all
# cores work on one call; for THROUGHPUT there would have to be several at a time.
COMPILED_FOR = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}

Files = Mapping[str, bytes]  # by name


def need_openvino() -> None:
    """Raise UsageError if OpenVINO is not installed."""
    if find_spec("openvino") is None:
        raise UsageError("openvino is not installed", fix="pip install 'zoo-core[openvino]'")


def is_openvino(path: str | Path) -> bool:
    """Return whether this is a folder that zoo may have exported."""
    return all(isfile(Path(path) / name) for name in (GRAPH, DESCRIPTION))  # noqa: PTH113 - as in is_exported


def sealed(files: Files, description: Description) -> Files:
    """Return the files of a folder: a graph and its weights with the description, and the checksums of these.

    `sha256sum --check SHA256SUMS` verifies them, too.
    """
    complete = {**files, DESCRIPTION: description.document().encode()}
    return {**complete, CHECKSUMS: checksums(complete)}


def open_openvino(path: Path) -> ExportedModel:
    """Open a folder that zoo exported.

    Raises:
        UsageError: OpenVINO is not installed.
        IntegrityError: zoo did not write the folder, it is damaged, or it contains what zoo does not write.
    """
    need_openvino()
    name = printable(str(path))
    return model_of({one: read_limited(path / one, limit, name) for one, limit in LIMITS.items()}, name)


def model_of(files: Files, name: str) -> ExportedModel:
    """Open the files of a folder; see `open_openvino`. Errors call it `name`."""
    try:
        for one, limit in LIMITS.items():
            if len(files[one]) > limit:
                raise ValueError(f"{one} has more than {limit:,} bytes")
        if files[CHECKSUMS] != checksums({one: files[one] for one in (GRAPH, WEIGHTS, DESCRIPTION)}):
            raise ValueError("it was not exported by zoo, or its files have changed since")
        description = Description.read(files[DESCRIPTION])
        run = runner(files[GRAPH], files[WEIGHTS], description)
    except ValueError as error:
        fix = f"zoo export RUN {name} --format openvino --force"
        raise IntegrityError(f"{name} cannot be used", why=str(error), fix=fix) from error
    return ExportedModel(description, run, name)


def runner(graph: bytes, weights: bytes, description: Description) -> Run:
    """Return a function that computes the outputs of a graph.

    Raises:
        ValueError: OpenVINO refuses the graph.
    """
    import openvino  # an optional dependency

    core = openvino.Core()
    try:
        model = core.read_model(graph, weights)
        _require_standard(model, description)
        compiled = core.compile_model(model, "CPU", COMPILED_FOR)
        outputs = [compiled.output(name) for name in OUTPUTS]
    except RuntimeError as error:
        raise ValueError(f"OpenVINO refuses the graph: {_first_line(error)}") from error
    return lambda pixels: _run(compiled, outputs, pixels)


def _require_standard(model: openvino.Model, description: Description) -> None:
    """Refuse what zoo never writes: other inputs, operations that are not OpenVINO's own, huge graphs."""
    operations = model.get_ops()
    if len(operations) > MAX_NODES:
        raise ValueError(f"its graph has more than {MAX_NODES:,} nodes")
    for operation in operations:
        if not operation.get_type_info().version_id.startswith("opset"):
            raise ValueError(f"it uses the operation {printable(operation.get_type_name()[:40])}")
    size, channels = description.input.size, description.input.channels
    found = [(one.get_names(), one.get_element_type().get_type_name(), str(one.partial_shape)) for one in model.inputs]
    if found != [({INPUT}, "u8", f"[?,{size},{size},{channels}]")]:
        raise ValueError(f"the graph does not take {INPUT} as its description says")


def _run(
    compiled: openvino.CompiledModel, outputs: list[openvino.ConstOutput], pixels: Pixels
) -> tuple[Floats, Floats]:
    try:
        results = compiled({INPUT: pixels})
    except RuntimeError as error:
        raise IntegrityError("OpenVINO could not compute the graph", why=_first_line(error)) from error
    probabilities, logits = (np.asarray(results[output]) for output in outputs)
    return probabilities, logits


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line and not line.startswith(("Exception from", "Check "))]
    return printable((lines or [type(error).__name__])[0][:200])
