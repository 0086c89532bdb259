"""The .onnx files that zoo writes: a graph, its description, and a checksum of both.

A file is read as untrusted: its size and its graph are limited, it may use standard operators alone, and it can name
no other file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_core.errors import IntegrityError, UsageError, printable
from zoo_core.exported.description import Description
from zoo_core.exported.model import ExportedModel, Floats, Pixels, Run
from zoo_core.exported.reading import first_line, read_limited

if TYPE_CHECKING:
    import onnx
    import onnxruntime

SUFFIX = ".onnx"
OPSET = 18  # of 2022: older runtimes on phones and in browsers read it
INPUT, OUTPUTS = "images", ("probabilities", "logits")
DESCRIPTION, CHECKSUM = "zoo", "zoo_sha256"  # keys of the file's metadata
MAX_BYTES = 2**31 - 1  # of one protocol buffer
MAX_NODES = 50_000  # the largest networks of timm have about 10,000


def need_onnx() -> None:
    """Raise UsageError if a package is missing that reads and runs .onnx files."""
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"{' and '.join(missing)} {verb} not installed", fix="pip install 'zoo-core[onnx]'")


def sealed(graph: bytes, description: Description) -> bytes:
    """Return the bytes of a file: a graph, and behind it the description and a checksum of all bytes before it."""
    content = graph + _metadata(DESCRIPTION, description.document())
    return content + _metadata(CHECKSUM, hashlib.sha256(content).hexdigest())


def open_onnx(path: Path) -> ExportedModel:
    """Open a file that zoo exported.

    Raises:
        UsageError: onnx or onnxruntime is not installed.
        IntegrityError: zoo did not write the file, it is damaged, or it contains what zoo does not write.
    """
    need_onnx()
    name = printable(str(path))
    return model_of(read_limited(path, MAX_BYTES, name), name)


def model_of(content: bytes, name: str) -> ExportedModel:
    """Open the bytes of a file; see `open_onnx`. Errors call it `name`."""
    try:
        _require_checksum(content)
        model = _parsed(content)
        _require_standard(model)
        description = _description_of(model)
        run = runner(content, description)
    except ValueError as error:
        raise IntegrityError(f"{name} cannot be used", why=str(error), fix=f"zoo export RUN {name} --force") from error
    return ExportedModel(description, run, name)


def runner(content: bytes, description: Description) -> Run:
    """Return a function that computes the outputs of the graph in a file's bytes.

    Raises:
        ValueError: ONNX Runtime refuses the graph.
    """
    import onnxruntime  # an optional dependency

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and need not be printed as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it raises its own types, which share no base
        raise ValueError(f"ONNX Runtime refuses the graph: {first_line(error)}") from error
    size, channels = description.input.size, description.input.channels
    if [(one.name, one.type, one.shape[1:]) for one in session.get_inputs()] != [
        (INPUT, "tensor(uint8)", [size, size, channels])
    ]:
        raise ValueError(f"the graph does not take {INPUT} as its description says")
    if {*OUTPUTS} - {one.name for one in session.get_outputs()}:
        raise ValueError(f"the graph does not return {' and '.join(OUTPUTS)}")
    return lambda pixels: _run(session, pixels)


def _run(session: onnxruntime.InferenceSession, pixels: Pixels) -> tuple[Floats, Floats]:
    try:
        probabilities, logits = session.run(OUTPUTS, {INPUT: pixels})
    except Exception as error:  # as above
        raise IntegrityError("ONNX Runtime could not compute the graph", why=first_line(error)) from error
    return probabilities, logits


def _metadata(key: str, value: str) -> bytes:
    """Return a protocol buffer with one entry of metadata: appended to a model's, it adds the entry."""
    import onnx  # an optional dependency

    entry = onnx.StringStringEntryProto(key=key, value=value)
    return bytes(onnx.ModelProto(metadata_props=[entry]).SerializeToString())


def _require_checksum(content: bytes) -> None:
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    seal = len(_metadata(CHECKSUM, "0" * 64))
    if content[-seal:] != _metadata(CHECKSUM, hashlib.sha256(content[:-seal]).hexdigest()):
        raise ValueError("it was not exported by zoo, or its bytes have changed since")


def _parsed(content: bytes) -> onnx.ModelProto:
    import onnx  # an optional dependency

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError, or others for deep nesting
        raise ValueError(f"it is not an ONNX model: {first_line(error)}") from error


def _require_standard(model: onnx.ModelProto) -> None:
    """Refuse what zoo never writes: custom operators and functions, external data, training graphs, huge graphs."""
    from onnx import TensorProto  # an optional dependency

    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ValueError("it contains functions, a training graph or sparse tensors")
    if any(opset.domain not in ("", "ai.onnx") for opset in model.opset_import):
        raise ValueError("it uses operators that are not ONNX's own")
    for number, node in enumerate(_nodes(model.graph)):
        if number >= MAX_NODES:
            raise ValueError(f"its graph has more than {MAX_NODES:,} nodes")
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"it uses the operator {printable(node.domain[:40])}.{printable(node.op_type[:40])}")
    for tensor in _tensors(model.graph):
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            raise ValueError("a tensor is in another file")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph, and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors
            for sparse in ([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []) + list(
                attribute.sparse_tensors
            ):
                yield from (sparse.values, sparse.indices)
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _tensors(inner)


def _description_of(model: onnx.ModelProto) -> Description:
    texts = [entry.value for entry in model.metadata_props if entry.key == DESCRIPTION]
    if len(texts) != 1:
        raise ValueError("it has no description of the model")
    return Description.read(texts[0])
