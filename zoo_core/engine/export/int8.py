"""Post-training quantization of an ONNX graph to 8-bit integers, and the choice among its methods."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from zoo_core.disk.atomic import atomic_write
from zoo_core.engine.export.onnx_graph import reason
from zoo_core.engine.export.pictures import BATCH
from zoo_core.engine.export.silence import silent
from zoo_core.errors import UsageError
from zoo_core.exported.description import Measured, Parity
from zoo_core.exported.model import Pixels
from zoo_core.exported.onnx_file import INPUT, OUTPUTS

LOG = logging.getLogger(__name__)
CALIBRATION = 300  # training images: more change the ranges of activations little
Method = Callable[[bytes, Sequence[Pixels]], bytes]  # a float graph and calibration images -> an int8 graph


def by_onnxruntime(graph: bytes, calibration: Sequence[Pixels]) -> bytes:
    """Quantize by ONNX Runtime: a scale for each channel of the weights, ranges of activations from their extremes."""
    from onnxruntime import quantization  # an optional dependency
    from onnxruntime.quantization.shape_inference import quant_pre_process  # as above

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> dict[str, Pixels] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with TemporaryDirectory() as folder:
        plain, prepared, quantized = (Path(folder, f"{name}.onnx") for name in ("plain", "prepared", "quantized"))
        atomic_write(plain, graph)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_last_nodes(graph),
        )
        return quantized.read_bytes()


def by_nncf(graph: bytes, calibration: Sequence[Pixels]) -> bytes:
    """Quantize by NNCF, which also corrects the bias that rounding the weights adds to each layer."""
    import nncf  # an optional dependency
    import onnx  # as above

    images = nncf.Dataset([{INPUT: batch[k : k + 1]} for batch in calibration for k in range(len(batch))])
    model = nncf.quantize(
        onnx.load_model_from_string(graph),
        images,
        subset_size=sum(map(len, calibration)),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=_last_nodes(graph)),
    )
    return bytes(model.SerializeToString())


def _last_nodes(graph: bytes) -> list[str]:
    """Return the nodes that compute the outputs, which stay in float32: 8 bits have 256 probabilities."""
    import onnx  # an optional dependency

    nodes = onnx.load_model_from_string(graph).graph.node
    return [node.name for node in nodes if {*node.output} & {*OUTPUTS}]


METHODS: Mapping[str, Method] = {"ONNX Runtime int8": by_onnxruntime, "NNCF int8": by_nncf}


def quantized_graphs(graph: bytes, calibration: Sequence[Pixels]) -> dict[str, bytes]:
    """Return the int8 graph of each method that is installed and can quantize this graph; the log names the others.

    Args:
        graph: in float32.
        calibration: batches of training images, (n, size, size, channels) uint8.

    Raises:
        UsageError: none can.
    """
    graphs, failures = dict[str, bytes](), dict[str, str]()
    for name in (name for name in METHODS if name != "NNCF int8" or find_spec("nncf") is not None):
        try:
            with silent():
                graphs[name] = _without_unused_domains(METHODS[name](graph, calibration))
        except Exception as error:  # each library raises its own types
            failures[name] = reason(error)
    for name, why in failures.items():
        LOG.warning("%s cannot quantize this model: %s", name, why)
    if not graphs:
        raise UsageError("this model cannot be quantized", why="; ".join(failures.values()), fix="leave --int8 out")
    return graphs


def _without_unused_domains(graph: bytes) -> bytes:
    """Drop the sets of operators that a graph declares but does not use, such as ONNX Runtime's own."""
    import onnx  # an optional dependency

    model = onnx.load_model_from_string(graph)
    used = {node.domain for node in model.graph.node} | {""}
    for opset in [opset for opset in model.opset_import if opset.domain not in used]:
        model.opset_import.remove(opset)
    return bytes(model.SerializeToString())


def acceptable(parity: Parity, max_drop: float) -> list[Measured]:
    """Return the int8 ways that lose at most `max_drop` points and are faster than zoo by default, fastest first."""
    own = parity.ways[1]
    faster = [
        way
        for way in parity.ways
        if way.name in METHODS
        and parity.points_lost(way) <= max_drop
        and all(way.milliseconds[count] < own.milliseconds[count] for count in own.milliseconds)
    ]
    return sorted(faster, key=lambda way: way.milliseconds[BATCH])


def refusal(parity: Parity, max_drop: float) -> str:
    """Return why no int8 way is acceptable, a clause for each."""
    own = parity.ways[1]
    return "; ".join(
        f"{way.name} loses {parity.points_lost(way):.2f} points (allowed: {max_drop:g}) and takes "
        f"{way.milliseconds[BATCH] / own.milliseconds[BATCH]:.2f} times as long as {own.name}"
        for way in parity.ways
        if way.name in METHODS
    )
