"""Exported models: written only where they give PyTorch's answers, and used without it."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import Said, Zoo
from zoo_core import open_exported
from zoo_core.engine.export import pt2_file
from zoo_core.errors import IntegrityError
from zoo_core.exported.openvino_folder import CHECKSUMS, DESCRIPTION, GRAPH, LIMITS, WEIGHTS, sealed
from zoo_core.exported.reading import checksums

pytestmark = pytest.mark.usefixtures("with_pond")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run and its export are made once."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def run(zoo: Zoo, made: Path) -> Path:
    if not (made / "runs").exists():
        assert zoo("run", "pond", "--epochs", "1").code == 0
        shutil.copytree("runs", made / "runs", symlinks=True)
    else:
        shutil.copytree(made / "runs", "runs", symlinks=True)
    return Path("runs/pond/latest")


@pytest.fixture
def folder(zoo: Zoo, run: Path, made: Path) -> Path:
    """A run as an OpenVINO folder."""
    if not (made / "pets").exists():
        said = zoo("export", run, "pets", "--format", "openvino", "--json")
        assert said.code == 0, said.err
        (made / "said.json").write_text(said.out)
        shutil.copytree("pets", made / "pets")
    else:
        shutil.copytree(made / "pets", "pets")
    return Path("pets")


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and the checksums with it."""
    files = {one: (folder / one).read_bytes() for one in (GRAPH, WEIGHTS, DESCRIPTION)} | {name: content}
    sums = checksums(files)
    (folder / name).write_bytes(content)
    (folder / CHECKSUMS).write_bytes(sums)


def test_an_openvino_folder_is_complete(folder: Path, made: Path) -> None:
    assert sorted(one.name for one in folder.iterdir()) == sorted(LIMITS)
    document = json.loads((made / "said.json").read_text())
    written = document["parity"]["ways"][-1]
    assert (written["name"], written["changed"]) == ("openvino float32", 0)
    assert written["largest_difference"] <= 1e-4
    assert document["size"] == sum(one.stat().st_size for one in folder.iterdir())
    model = open_exported(folder)
    assert model.classes == ("ducks", "frogs", "newts")
    assert max(model.probe_differences()) <= 1e-4
    assert sealed({one: (folder / one).read_bytes() for one in (GRAPH, WEIGHTS)}, model.description) == {
        one.name: one.read_bytes() for one in folder.iterdir()
    }
    subprocess.run(["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=folder, check=True)  # as anybody can


def test_an_openvino_folder_answers_as_its_run_does(zoo: Zoo, run: Path, folder: Path) -> None:
    for number in range(3):
        Image.new("RGB", (9, 12), (60 * number, 200 - 60 * number, 20)).save(f"{number}.png")
    images = [f"{number}.png" for number in range(3)]
    said, expected = (
        [json.loads(line) for line in zoo("predict", one, *images, "--json", "--device", "cpu", *more).out.splitlines()]
        for one, more in ((folder, ()), (run, ("--precision", "float32")))
    )
    assert [one["label"] for one in said] == [one["label"] for one in expected]
    assert [one["probability"] for one in said] == pytest.approx([one["probability"] for one in expected], abs=1e-4)
    measured, reference = (
        json.loads(zoo("eval", one, "--json", *more).out)
        for one, more in ((folder, ()), (run, ("--precision", "float32")))
    )
    assert measured["accuracy"] == reference["accuracy"]
    assert measured["loss"] == pytest.approx(reference["loss"], abs=1e-4)
    assert measured["images"] == reference["images"]


def test_an_openvino_folder_needs_no_torch(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save("a.png")
    program = f"import sys; sys.argv = ['zoo', 'predict', {str(folder)!r}, 'a.png']\nfrom zoo_core.cli import main\n"
    program += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    program += "assert not {'torch', 'timm', 'onnx', 'onnxruntime'} & set(sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert re.search("ducks|frogs|newts", said.stdout)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_changed_byte_is_found(zoo: Zoo, folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    refused(zoo("predict", folder, "a.png"), "its files have changed")


@pytest.mark.parametrize("name", [WEIGHTS, CHECKSUMS])
def test_a_missing_file_is_found(zoo: Zoo, folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(zoo("predict", folder, "a.png"), f"pets/{name}: not a file")


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        (GRAPH, lambda xml: xml[: len(xml) // 2], "OpenVINO refuses the graph"),
        (GRAPH, lambda xml: b"", "OpenVINO refuses the graph"),
        (GRAPH, lambda xml: xml.replace(b'version="opset1"', b'version="evil"', 1), "OpenVINO refuses the graph"),
        (GRAPH, lambda xml: xml.replace(b'"images"', b'"pixels"'), "does not take images"),
        (GRAPH, lambda xml: xml.replace(b'"logits"', b'"other"'), "OpenVINO refuses the graph"),
        (WEIGHTS, lambda weights: weights[:8], "OpenVINO refuses the graph"),
        (WEIGHTS, lambda weights: b"", "OpenVINO refuses the graph"),
        (DESCRIPTION, lambda document: b"{}", "its description is invalid"),
        (DESCRIPTION, lambda document: document.replace(b'"size":', b'"size":1'), "does not take images"),
    ],
)
def test_what_zoo_does_not_write_is_refused(zoo: Zoo, folder: Path, name: str, change: object, why: str) -> None:
    assert callable(change)
    before = (folder / name).read_bytes()
    after = change(before)
    assert after != before
    rewritten(folder, name, after)
    refused(zoo("predict", folder, "a.png"), why)


def test_a_folder_that_is_too_large_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, WEIGHTS, 100)  # type: ignore[index]
    with pytest.raises(IntegrityError) as error:
        open_exported(folder)
    assert "model.bin has more than 100 bytes" in str(error.value.why)


def refused(said: Said, why: str) -> None:
    assert (said.code, said.out) == (5, ""), said.err
    assert why in said.err
    assert "--format openvino --force" in said.err or "not a file" in said.err


def test_an_existing_folder_is_kept(zoo: Zoo, run: Path, folder: Path) -> None:
    before = (folder / GRAPH).stat().st_mtime_ns
    said = zoo("export", run, folder, "--format", "openvino")
    assert said.code == 2
    assert f"zoo export {run} pets --format openvino --force" in said.err
    assert (folder / GRAPH).stat().st_mtime_ns == before
    assert zoo("export", run, folder, "--format", "openvino", "--force").code == 0
    assert (folder / GRAPH).stat().st_mtime_ns != before
    Path("photos").mkdir()
    Path("photos", "dog.jpg").write_bytes(b"precious")
    Path("notes").write_bytes(b"precious")
    for other in ("photos", "notes", ".", ".."):
        said = zoo("export", run, other, "--format", "openvino", "--force")
        assert said.code == 2
        assert "exists, and is not an export" in said.err
    assert Path("photos", "dog.jpg").read_bytes() == Path("notes").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("arguments", "why", "fix"),
    [
        (("pets",), "a name without a suffix is not supported", "pets --format openvino"),
        (("pets.pt",), ".pt is not supported; .onnx, .pt2, .safetensors are", "pets.onnx"),
        (("pets.onnx", "--format", "openvino"), "the format openvino is a folder", "pets --format openvino"),
        (("pets", "--format", "onnx"), "a file of the format onnx is called NAME.onnx", "pets.onnx"),
        (("pets.safetensors", "--format", "onnx"), "a file of the format onnx", "pets.onnx"),
        ((".", "--format", "onnx"), "a file of the format onnx", "model.onnx"),
    ],
)
def test_a_name_has_to_fit_its_format(zoo: Zoo, arguments: tuple[str, ...], why: str, fix: str) -> None:
    said = zoo("export", "somewhere", *arguments)
    assert said.code == 2
    assert why in said.err
    assert f"zoo export somewhere {fix}" in said.err
    assert list(Path().iterdir()) == []


def test_without_openvino_the_command_to_install_it_is_named(
    zoo: Zoo, run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_core.exported.openvino_folder.find_spec", lambda name: None)
    for arguments in (("export", run, "new", "--format", "openvino"), ("predict", folder, "a.png")):
        said = zoo(*arguments)
        assert said.code == 2
        assert "openvino is not installed" in said.err
        assert "pip install 'zoo-core[openvino]'" in said.err
    assert not Path("new").exists()


@pytest.fixture
def program(zoo: Zoo, run: Path, made: Path) -> Path:
    """A run as a .pt2 file."""
    if not (made / "pets.pt2").exists():
        said = zoo("export", run, "pets.pt2", "--json")
        assert said.code == 0, said.err
        assert json.loads(said.out)["parity"]["ways"][-1]["largest_difference"] <= 1e-4
        shutil.copy("pets.pt2", made / "pets.pt2")
    else:
        shutil.copy(made / "pets.pt2", "pets.pt2")
    return Path("pets.pt2")


def test_a_pt2_file_answers_as_its_run_does_and_unpickles_nothing(
    zoo: Zoo, run: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for module, name in ((torch, "load"), (pickle, "loads"), (torch._C, "_pickle_load_obj")):
            patch.setattr(module, name, lambda *_args, **_options: pytest.fail("unpickled"))
        measured = json.loads(zoo("eval", program, "--json").out)
    reference = json.loads(zoo("eval", run, "--json", "--precision", "float32").out)
    assert (measured["accuracy"], measured["n"]) == (reference["accuracy"], reference["n"])
    assert measured["loss"] == pytest.approx(reference["loss"], abs=1e-4)
    plain = torch.export.load(program, extra_files=(extra := {"zoo.json": ""})).module()
    assert json.loads(extra["zoo.json"])["classes"] == ["ducks", "frogs", "newts"]
    assert [len(plain(torch.zeros(n, 8, 8, 3, dtype=torch.uint8))[0]) for n in (1, 3)] == [1, 3]


@pytest.mark.parametrize(
    ("record", "old", "new"),
    [
        (pt2_file.INPUTS, b"", pickle.dumps(print)),
        (pt2_file.WEIGHTS, b'"use_pickle": false', b'"use_pickle": true'),
        (pt2_file.PROGRAM, b'"guards_code": []', b'"guards_code": ["print(1)"]'),
        (pt2_file.PROGRAM, b"torch.ops.aten.relu.default", b"torch.os.system"),
        (pt2_file.PROGRAM, b'"name": "relu"', b'"name": "relu(__import__)"'),
        ("data/aotinductor/model/a.so", b"", b"code"),
    ],
)
def test_a_pt2_file_with_code_is_refused(zoo: Zoo, program: Path, record: str, old: bytes, new: bytes) -> None:
    records = dict(pt2_file.records_of(program.read_bytes()))
    before = records.get(record, b"")
    records[record] = before.replace(old, new) if old else new
    assert records[record] != before
    del records[pt2_file.CHECKSUM]
    program.write_bytes(pt2_file._archive({**records, pt2_file.CHECKSUM: pt2_file._checksum(records)}))
    said = zoo("predict", program, "a.png")
    assert (said.code, said.out) == (5, ""), said.err
    assert "it contains" in said.err or "it uses" in said.err or "its graph" in said.err


def test_a_damaged_pt2_file_is_refused(zoo: Zoo, program: Path) -> None:
    content = program.read_bytes()
    for damaged in (content[:-30], content.replace(b"relu", b"silu", 1), b""):
        program.write_bytes(damaged)
        assert zoo("predict", program, "a.png").code == 5


def test_bench_measures_every_format(zoo: Zoo, run: Path, folder: Path, program: Path) -> None:
    ways = json.loads(zoo("bench", run, folder, program, "--json").out)["ways"][-2:]
    assert [(way["name"], way["changed"]) for way in ways] == [("pets", 0), ("pets.pt2", 0)]
    assert [way["size"] for way in ways] == [
        sum(one.stat().st_size for one in folder.iterdir()),
        program.stat().st_size,
    ]
    said = zoo("bench", run, "a.png")
    assert (said.code, said.out) == (2, "")
    assert "a.png is not an exported model" in said.err
