"""Exported files: they answer as the run does, are measured before they are written, and refused where they differ."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

import zoo_core as zoo_
from tests.conftest import Zoo
from zoo_core import ImageInput, Measured, Parity, Registry
from zoo_core.engine.export import export as exporting, parity
from zoo_core.engine.export.graph import ExportGraph
from zoo_core.engine.export.int8 import METHODS, acceptable, quantized_graphs, refusal
from zoo_core.engine.export.onnx_graph import onnx_graph
from zoo_core.engine.export.pictures import Pictures
from zoo_core.engine.export.probes import generated_pixels, probes_of
from zoo_core.exported.description import Description
from zoo_core.exported.model import ExportedModel
from zoo_core.exported.onnx_file import model_of, sealed

pytestmark = pytest.mark.usefixtures("with_pond")

SPEC = ImageInput(size=8, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def finished(pond: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and with what was exported from it."""
    folder = tmp_path_factory.mktemp("finished")
    result = zoo_.run("pond", epochs=1, out=folder / "runs", registry=pond, store=zoo_.Store(folder / "cache"))
    zoo_.export(result.directory, folder / "pets.onnx", registry=pond, store=zoo_.Store(folder / "cache"))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run; `pets.onnx` and `reader.py` are in the current folder."""
    for name in ("pets.onnx", "reader.py"):
        shutil.copy(finished / name, tmp_path / name)
    return shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True) / "pond" / "latest"


@pytest.fixture
def pictures() -> list[str]:
    """Pictures of several modes and shapes."""
    rng = np.random.default_rng(0)
    for name, mode, size in (("a", "RGB", (9, 9)), ("b", "RGBA", (30, 12)), ("c", "L", (7, 40)), ("d", "P", (16, 16))):
        channels = {"RGB": 3, "RGBA": 4}.get(mode)
        values = rng.integers(0, 256, (*size, channels) if channels else size, dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(f"{name}.png")
    return [f"{name}.png" for name in "abcd"]


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs))


def exported(
    graph: ExportGraph, classes: tuple[str, ...], thresholds: tuple[float, ...] | None = None
) -> tuple[bytes, ExportedModel]:
    """Return the ONNX bytes of a graph, and the model in the file that they make."""
    description = Description(
        zoo="1",
        model="net",
        origin="a test",
        task="single-label" if thresholds is None else "multi-label",
        classes=classes,
        thresholds=thresholds,
        input=SPEC,
        licenses={},
        hashes={},
        probes=probes_of(graph, SPEC, 2),
    )
    content = onnx_graph(graph, SPEC, "net")
    return content, model_of(sealed(content, description), "net.onnx")


def test_an_exported_run_answers_as_the_run(zoo: Zoo, run: Path, pictures: list[str]) -> None:
    Path("reader.py").write_text("# changed by its user")
    document = json.loads(zoo("export", run, "pets.onnx", "--json", "--force").out)
    assert Path("reader.py").read_text() == "# changed by its user"
    assert Path("pets.onnx").stat().st_size == document["size"]
    reference, *_, written = document["parity"]["ways"]
    assert (written["changed"], written["accuracy"]) == (0, reference["accuracy"])
    assert written["largest_difference"] < 1e-5
    theirs = zoo("predict", run, *pictures, "--json", "--precision", "float32").out.splitlines()
    ours = zoo("predict", "pets.onnx", *pictures, "--json").out.splitlines()
    for one, other in zip(map(json.loads, theirs), map(json.loads, ours), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
        assert other["model"] == "pets.onnx"
    said = zoo("predict", "pets.onnx", "a.png", "missing.png", "--top-k", "1")
    assert (said.code, len(said.out.splitlines())) == (3, 1)


def test_the_reader_beside_the_file_gives_the_same_labels(zoo: Zoo, run: Path, pictures: list[str]) -> None:
    program = "import sys; sys.path[:] = sys.argv.pop(1).split(':'); sys.argv[0] = 'reader.py'; import runpy; "
    program += "runpy.run_path('reader.py', run_name='__main__'); "
    program += "assert not {'torch', 'zoo_core', 'pydantic'} & set(sys.modules)"
    command = [sys.executable, "-P", "-c", program, ":".join(sys.path), "pets.onnx", *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ours = zoo("predict", "pets.onnx", *pictures, "--json").out.splitlines()
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [one["image"], one["label"]] for one in map(json.loads, ours)
    ]


def test_an_exported_file_is_evaluated_as_the_run(zoo: Zoo, run: Path) -> None:
    theirs = json.loads(zoo("eval", run, "--precision", "float32", "--json").out)
    ours = json.loads(zoo("eval", "pets.onnx", "--json").out)
    assert ours.pop("loss") == pytest.approx(theirs.pop("loss"), rel=1e-5)
    assert (ours.pop("model"), theirs.pop("model")[:3]) == ("pets.onnx", "run")
    assert ours == theirs


def test_a_model_is_measured_on_generated_pictures_where_its_card_names_none(pond: Registry) -> None:
    pictures = Pictures.open(pond, zoo_.Store.default(), "pond-net", ("a",), data=None, on_event=lambda _: None)
    assert (pictures.data, len(pictures)) == ("generated pictures", 16)
    assert sum(map(len, pictures.batches(SPEC))) == 16
    assert pictures.sample(SPEC, 4) == []


def test_a_file_that_gives_other_answers_is_not_written(zoo: Zoo, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: ExportGraph, spec: ImageInput, name: str) -> bytes:
        other = ExportGraph(graph.network, spec, multi_label=False)
        other.mean += 0.3
        return onnx_graph(other, spec, name)

    onnx_format = replace(exporting.FORMATS["onnx"], convert=wrong)
    monkeypatch.setattr(exporting, "FORMATS", {**exporting.FORMATS, "onnx": onnx_format})
    said = zoo("export", run, "wrong.onnx")
    assert said.code == 9
    assert "a probability differs by" in said.err
    assert not Path("wrong.onnx").exists()


def test_an_operation_without_an_equivalent_is_named() -> None:
    class Strange(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(images.flatten(1)[:, :9].unflatten(1, (3, 3)))

    with pytest.raises(zoo_.UsageError, match="cannot be exported to ONNX") as found:
        onnx_graph(ExportGraph(Strange(), SPEC, multi_label=False), SPEC, "strange")
    assert "linalg_eigh" in found.value.why


@pytest.mark.parametrize(("outputs", "thresholds"), [(1, None), (2, None), (2, (0.9, 0.2))])
def test_the_graph_ends_in_probabilities(outputs: int, thresholds: tuple[float, ...] | None) -> None:
    graph = ExportGraph(network(outputs), SPEC, multi_label=thresholds is not None).eval()
    _, model = exported(graph, ("cat", "dog"), thresholds)
    pixels = generated_pixels(SPEC, 5)
    probabilities, logits = model.run(pixels)
    with torch.inference_mode():
        normalized = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - graph.mean) / graph.std
        expected = graph.network(normalized)
    if outputs == 1:
        expected = torch.cat([torch.zeros_like(expected), expected], dim=1)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    wanted = expected.softmax(1) if thresholds is None else expected.sigmoid()
    np.testing.assert_allclose(probabilities, wanted, atol=1e-6)
    assert max(model.probe_differences()) < 1e-6
    (prediction,) = model.predict_each([("x", lambda: Image.fromarray(pixels[0]))])
    assert not isinstance(prediction, zoo_.DataError)
    if thresholds is not None:
        assert set(prediction.labels) == {
            n for n, p, t in zip(model.classes, wanted[0], thresholds, strict=True) if p >= t
        }


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:99] + b"\0" + b[100:], lambda _: b"", lambda b: b + b]
)
def test_a_damaged_file_is_refused(zoo: Zoo, run: Path, damage: Callable[[bytes], bytes]) -> None:
    Path("pets.onnx").write_bytes(damage(Path("pets.onnx").read_bytes()))
    Image.new("RGB", (9, 9)).save("a.png")
    said = zoo("predict", "pets.onnx", "a.png")
    assert said.code == 5
    assert "was not exported by zoo, or its bytes have changed since" in said.err


def test_options_that_the_file_decides_are_refused(zoo: Zoo, run: Path) -> None:
    Image.new("RGB", (9, 9)).save("a.png")
    assert zoo("predict", "pets.onnx", "a.png", "--precision", "bfloat16").code == 2
    assert zoo("explain", "pets.onnx", "a.png").code == 2
    with pytest.raises(zoo_.UsageError, match="which PyTorch does not read"):
        zoo_.load("pets.onnx")


def test_a_missing_package_is_named_with_the_command(zoo: Zoo, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo_core.exported.onnx_file.find_spec", lambda _: None)
    said = zoo("export", run, "new.onnx")
    assert said.code == 2
    assert "onnx and onnxruntime are not installed" in said.err
    assert "pip install 'zoo-core[onnx]'" in said.err


def test_bench_compares_files_with_pytorch(zoo: Zoo, run: Path) -> None:
    names = [way["name"] for way in json.loads(zoo("bench", run, "pets.onnx", "--json").out)["ways"]]
    assert (names[0], len(names), names[2]) == ("PyTorch float32", 3, "pets.onnx")
    _, other = exported(ExportGraph(network(2), SPEC, multi_label=False), ("cat", "dog"))
    Path("other.onnx").write_bytes(
        sealed(onnx_graph(ExportGraph(network(2), SPEC, multi_label=False), SPEC, ""), other.description)
    )
    said = zoo("bench", run, "other.onnx")
    assert said.code == 2
    assert "other.onnx is not an export of" in said.err


def test_eight_bits_are_close_and_use_standard_operators_alone() -> None:
    graph = ExportGraph(network(3), SPEC, multi_label=False).eval()
    content, model = exported(graph, ("a", "b", "c"))
    pixels = generated_pixels(SPEC, 64)
    found = quantized_graphs(content, [pixels[:32], pixels[32:]])
    assert "ONNX Runtime int8" in found
    for small in found.values():
        quantized = model_of(sealed(small, model.description), "small")
        assert np.abs(quantized.run(pixels)[0] - model.run(pixels)[0]).max() < 0.05
        assert np.abs(quantized.run(pixels)[0] - model.run(pixels)[0]).max() > 0
        np.testing.assert_allclose(quantized.run(pixels)[0].sum(axis=1), 1, atol=1e-6)  # softmax is not in 8 bits


def way(name: str, accuracy: float | None, milliseconds: float, changed: int = 0) -> Measured:
    times = {1: milliseconds, 8: milliseconds}
    return Measured(name=name, accuracy=accuracy, changed=changed, largest_difference=0.1, milliseconds=times, size=1)


def test_the_fastest_way_within_the_allowed_drop_is_chosen() -> None:
    first, second = METHODS
    before = [way("PyTorch float32", 0.9, 9), way("PyTorch bfloat16", 0.9, 5), way("ONNX float32", 0.9, 4)]

    def chosen(*ways: Measured) -> list[str]:
        return [one.name for one in acceptable(Parity(data="x", images=100, ways=(*before, *ways)), 0.5)]

    assert chosen(way(first, 0.897, 3), way(second, 0.9, 2)) == [second, first]
    assert chosen(way(first, 0.89, 3), way(second, 0.9, 6)) == []
    assert chosen(way(first, None, 3, changed=1), way(second, None, 3)) == [second]
    slow = Parity(data="x", images=100, ways=(*before, way(first, 0.88, 6)))
    assert refusal(slow, 0.5) == (
        f"{first} loses 2.00 points (allowed: 0.5) and takes 1.20 times as long as PyTorch bfloat16"
    )


@pytest.mark.parametrize(("drop", "code"), [("0", 9), ("100", 0)])
def test_eight_bits_are_written_only_where_they_do_no_harm(
    zoo: Zoo, run: Path, monkeypatch: pytest.MonkeyPatch, drop: str, code: int
) -> None:
    def fast_but_wrong(graph: bytes, _: object) -> bytes:
        model = onnx.load_model_from_string(graph)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("fc.bias"):
                tensor.CopyFrom(numpy_helper.from_array(np.float32([9, 0, 0]), tensor.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr("zoo_core.engine.export.int8.METHODS", {"ONNX Runtime int8": fast_but_wrong})
    monkeypatch.setattr(exporting, "METHODS", {"ONNX Runtime int8"})
    monkeypatch.setattr(
        parity, "_milliseconds", lambda ways, _: {name: {1: 9 - n, 8: 9 - n} for n, name in enumerate(ways)}
    )
    said = zoo("export", run, "small.onnx", "--int8", "--max-drop", drop)
    assert (said.code, Path("small.onnx").exists()) == (code, code == 0)
    if code:
        assert "ONNX Runtime int8 loses" in said.err
    else:
        described = zoo_.open_exported("small.onnx").description
        assert (described.quantized, described.parity.ways[-1].name) == (True, "ONNX Runtime int8")


def test_a_run_that_held_no_images_out_is_compared_on_all_of_them(zoo: Zoo, tmp_path: Path) -> None:
    for label in range(2):
        for number in range(6):
            path = tmp_path / "few" / "ab"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 12), (40 * number, 250 * label, 9)).save(path)
    changes = {"settings.allow_random": "true", "model": "pond-net", "weights": "null", "split.folds": "3"}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    assert zoo("run", "transfer", "--data", "few", *words).code == 0
    said = zoo("export", "runs/few/latest", "few.onnx", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["parity"]["images"] == 12
