"""Importing checkpoints: what fits is saved as safetensors, and no code in them is run."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import zoo_pond
from PIL import Image
from torch import nn

import zoo_core as zoo
from tests.conftest import Zoo
from tests.reliability.corpus import DISGUISES, pickle_of
from tests.reliability.ledger import Ledger
from zoo_core import DataError, ImageInput, IntegrityError, ModelCard, Registry, Store, UsageError, hookimpl
from zoo_core.engine.models.build import build_model
from zoo_core.engine.models.import_weights import import_weights, match
from zoo_core.engine.models.unpickle import read_foreign
from zoo_core.engine.models.weights import save_tensors
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.imported_weights import ImportedWeights

PROGRAM = """
import json, os, sys
from zoo_core.engine.models.unpickle import convert  # once, and a process for each file
ended = {}
for source in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            convert(source, source + ".tensors", source + ".report")
        finally:
            os._exit(1)
    ended[source] = os.waitpid(child, 0)[1]
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def card(pond: Registry) -> ModelCard:
    return pond.model("pond-net")


@pytest.fixture
def own(tmp_path: Path) -> ImportedWeights:
    return ImportedWeights(tmp_path / "weights")


def state(card: ModelCard) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return {name: tensor.clone() for name, tensor in build_model(card).state_dict().items()}


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_a_run_can_start_from_an_imported_checkpoint(
    legacy: bool, card: ModelCard, own: ImportedWeights, pond: Registry, tmp_path: Path
) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state(card).items()}}
    source = saved(wrapped, tmp_path / "theirs.pth", _use_new_zipfile_serialization=not legacy)
    done = import_weights(card, source, "theirs", own)
    assert (done.covers, done.left_out) == ("all", ())
    cards, problems = own.load()
    assert problems == []
    registry, store = replace(pond, imported_weights=cards), Store(tmp_path / "store")
    result = zoo.run("pond", overrides={"weights": "theirs"}, epochs=1, out=tmp_path, registry=registry, store=store)
    plan = json.loads((result.directory / "plan.json").read_text())
    assert plan["weights"][0]["file"]["sha256"] == done.sha256
    assert plan["model"]["weights"] == []  # imported weights are not part of the card
    image = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(image)
    assert zoo.predict(result.directory, image, registry=registry, store=store)[0].label in card.classes
    with pytest.raises(IntegrityError, match="different pond-net"):  # without them, the run cannot be trusted
        zoo.predict(result.directory, image, registry=pond, store=store)


class PuddlePlugin:
    """A model with a choice of pooling, which its tensors do not show."""

    @hookimpl
    def zoo_models(self) -> list[ModelCard]:
        return [
            ModelCard(
                name="puddle-net",
                summary="A convolution, a choice of pooling, and a linear head",
                license="Apache-2.0",
                source="a test",
                builder=f"{__name__}:puddle_net",
                input=ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
                num_classes=3,
                head="fc",
                parameters=127,
            )
        ]


def puddle_net(num_classes: int, *, pooling: str = "average") -> nn.Module:
    pool = nn.AdaptiveMaxPool2d(1) if pooling == "max" else nn.AdaptiveAvgPool2d(1)
    layers = {"conv": nn.Conv2d(3, 4, 3), "pool": pool, "flat": nn.Flatten(), "fc": nn.Linear(4, num_classes)}
    return nn.Sequential(OrderedDict(layers))


def test_builder_options_survive_export_and_import(own: ImportedWeights, tmp_path: Path) -> None:
    manager = new_manager()
    manager.register(zoo_pond)
    manager.register(PuddlePlugin())
    registry, store = zoo.load_registry(manager=manager), Store(tmp_path / "store")
    overrides = {"model": "puddle-net", "model_options.pooling": "max"}
    run = zoo.run("pond", epochs=1, overrides=overrides, out=tmp_path, registry=registry, store=store).directory
    zoo.export(run, tmp_path / "x.safetensors")
    import_weights(registry.model("puddle-net"), tmp_path / "x.safetensors", "x", own)
    again = replace(registry, imported_weights=own.load()[0])
    assert type(zoo.create_model("puddle-net", weights="x", registry=again, store=store).pool) is nn.AdaptiveMaxPool2d
    plan = again.plan("pond", {"model": "puddle-net", "weights": "x"})
    assert plan.model_options == {"pooling": "max"}
    image = Image.effect_noise((8, 8), 90)
    theirs = zoo.predict("puddle-net", image, weights="x", registry=again, store=store)
    assert theirs == zoo.predict(run, image, registry=again, store=store)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"<html>not found</html>",
        b"\x1f\x8b" + bytes(99),
        "a pickle",
    ],
)
def test_files_that_torch_did_not_save_start_no_process(
    content: bytes | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_core.engine.models.unpickle.run_child", lambda *_, **__: pytest.fail("a process started"))
    canary, path = tmp_path / "canary", tmp_path / "x.pth"
    path.write_bytes(content if isinstance(content, bytes) else pickle_of(canary))
    with pytest.raises(IntegrityError, match=r"x\.pth contains no weights") as raised:
        b"".join(zoo.unpickle_weights(path))
    assert raised.value.why == "torch.save did not write it"
    assert not canary.exists()


def test_a_zip_without_weights_is_refused_in_the_sandbox(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("readme.txt", "not from torch.save")
    with pytest.raises(IntegrityError, match="contains no readable weights"):
        b"".join(zoo.unpickle_weights(tmp_path / "x.pth"))


def test_imported_tensors_are_bit_identical(
    card: ModelCard, own: ImportedWeights, pond: Registry, tmp_path: Path
) -> None:
    there = state(card)
    import_weights(card, saved(there, tmp_path / "x.pth"), "x", own)
    registry = replace(pond, imported_weights=own.load()[0])
    here = zoo.create_model("pond-net", weights="x", registry=registry, store=Store(tmp_path / "store")).state_dict()
    assert all(torch.equal(here[name], tensor) for name, tensor in there.items())


def test_safetensors_are_read_without_a_child_process(card: ModelCard, own: ImportedWeights, tmp_path: Path) -> None:
    source = tmp_path / "x.safetensors"
    source.write_bytes(save_tensors(state(card)))
    assert import_weights(card, source, "x", own).covers == "all"
    source.rename(tmp_path / "x.bin")  # known by its content
    assert set(read_foreign(tmp_path / "x.bin")) == set(state(card))


def test_a_head_of_other_classes_is_left_out_and_reported(card: ModelCard) -> None:
    given = state(card)
    given["fc.weight"], given["fc.bias"] = torch.zeros(1000, 8), torch.zeros(1000)
    fitted = match(card, given)
    assert fitted.covers == "backbone"
    assert fitted.left_out == ("the head, which does not fit this model",)
    assert not any(name.startswith("fc.") for name in fitted.tensors)


def test_counters_that_old_files_lack_are_filled_in(card: ModelCard) -> None:
    given = {name: tensor for name, tensor in state(card).items() if not name.endswith("num_batches_tracked")}
    fitted = match(card, given)
    assert set(fitted.tensors) == set(state(card))
    assert fitted.filled_in == 1


def test_tensors_that_do_not_fit_are_named(card: ModelCard) -> None:
    given = state(card)
    first = next(iter(given))
    given["x\x1b[2J"] = given.pop(first)
    with pytest.raises(DataError, match="do not fit pond-net") as raised:
        match(card, given)
    assert f"missing {first}" in raised.value.why
    assert "unknown x\\x1b[2J" in raised.value.why
    with pytest.raises(DataError, match="is 1 floats, not"):
        match(card, state(card) | {first: torch.zeros(1)})
    with pytest.raises(DataError, match="int64, not"):
        match(card, state(card) | {first: state(card)[first].long()})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(card: ModelCard, value: float) -> None:
    given = state(card)
    given["fc.bias"][0] = value
    with pytest.raises(DataError, match=r"fc\.bias contains NaN or infinity"):
        match(card, given)


def test_a_name_can_only_be_used_once(card: ModelCard, own: ImportedWeights, pond: Registry, tmp_path: Path) -> None:
    source = saved(state(card), tmp_path / "x.pth")
    import_weights(card, source, "x", own)
    with pytest.raises(UsageError, match="already"):
        import_weights(replace(pond, imported_weights=own.load()[0]).model("pond-net"), source, "x", own)
    (folder := own.folder / "pond-net").joinpath("y.safetensors.json").write_text(
        '{"covers": "all", "builder": "os:x"}'
    )
    cards, problems = own.load()
    assert [one.name for one in cards["pond-net"]] == ["x"]
    assert str(folder) in problems[0].subject


def test_torchvisions_inception_becomes_the_backbone_of_horses_inception(
    installed: Registry, own: ImportedWeights, tmp_path: Path
) -> None:
    """Its names are timm's; it also contains a head for 1,000 classes and an auxiliary classifier."""
    theirs = torchvision.models.inception_v3(weights=None, init_weights=False).half().state_dict()
    source = saved({k: v for k, v in theirs.items() if not k.endswith("tracked")}, tmp_path / "inception_v3_google.pth")
    done = import_weights(installed.model("horses-inception"), source, "tv-imagenet", own)
    assert done.covers == "backbone"
    assert done.left_out == ("the auxiliary classifier", "the head, which does not fit this model")
    registry = replace(installed, imported_weights=own.load()[0])
    plan = registry.plan("horses-inception", {"weights": "tv-imagenet"})
    assert [one.file.sha256 for one in plan.weights] == [done.sha256]  # type: ignore[union-attr]
    assert plan.input == installed.model("horses-inception").input
    assert [one.name for one in registry.model("horses-inception").weights][-1] == "tv-imagenet"


def test_the_command_reports_its_result_and_a_run_finds_it(zoo: Zoo, tmp_path: Path) -> None:
    card = zoo_core_card("fashion-cnn")
    saved(state(card), tmp_path / "theirs.pth")
    said = zoo("import-weights", "theirs.pth", "--model", "fashion-cnn", "--mean", "0.5", "--std", "0.25", "--json")
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert (document["name"], document["covers"]) == ("theirs", "all")
    plan = json.loads(zoo("run", "fashion-cnn", "--weights", "theirs", "--dry-run").out)
    assert plan["weights"][0]["file"]["sha256"] == document["sha256"]
    assert plan["weights"][0]["input"]["std"] == [0.25]
    assert "theirs" in zoo("show", "fashion-cnn").out
    assert zoo("pull", "fashion-cnn.theirs").code == 0
    Image.new("L", (28, 28)).save(tmp_path / "x.png")
    answered = zoo("predict", "fashion-cnn", "x.png", "--weights", "theirs", "--json")
    assert json.loads(answered.out)["model"] == "fashion-cnn with weights theirs"
    backbone = zoo("predict", "horses-inception", "x.png", "--weights", "google-2015")
    assert (backbone.code, "have no head" in backbone.err) == (2, True)
    assert zoo("import-weights", "theirs.pth", "--model", "fashion-cnn").code == 2  # the name is taken
    assert zoo("import-weights", "theirs.pth", "--model", "fashion-cnn", "--name", "../x").code == 2
    assert zoo("import-weights", "theirs.pth", "--model", "fashion-cnn", "--name", "y", "--mean", "a").code == 2
    assert zoo("import-weights", "nothing.pth", "--model", "fashion-cnn").code == 3


def zoo_core_card(name: str) -> ModelCard:
    return zoo.load_registry().model(name)


def test_a_pickle_ends_in_exit_code_5_and_runs_nothing(zoo: Zoo, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("evil.pth", "evil.safetensors"):
        (tmp_path / name).write_bytes(pickle_of(canary))
        said = zoo("import-weights", name, "--model", "fashion-cnn")
        assert said.code == 5, said.err
        assert "weights_only" not in said.err
        assert "Traceback" not in said.err
    assert not canary.exists()


def bombs(card: ModelCard, folder: Path) -> dict[str, Path]:
    """Files that the restricted unpickler accepts, and that are not weights."""
    vast = torch.zeros(1).expand(1 << 40)
    return {
        "a tensor of 4 TB in 4 bytes": saved({"conv.weight": vast}, folder / "vast.pth"),
        "sparse": saved({"x": torch.zeros(9, 9).to_sparse()}, folder / "sparse.pth"),
        "a list": saved([torch.zeros(1)], folder / "list.pth"),
        "numbers alone": saved({"epoch": 3}, folder / "numbers.pth"),
        "a whole module": saved(build_model(card), folder / "module.pt"),
        "nested without end": saved(nested(2000), folder / "nested.pth"),
    }


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"state_dict": inner}
    return inner


@pytest.mark.timeout(300)
def test_no_disguise_of_a_pickle_is_run(card: ModelCard, tmp_path: Path, ledger: Ledger) -> None:
    canary = tmp_path / "canary"
    sources = [tmp_path / f"{number}.pth" for number in range(len(DISGUISES))]
    for source, make in zip(sources, DISGUISES.values(), strict=True):
        source.write_bytes(make(canary))
    sys.setrecursionlimit(10_000)
    sources += bombs(card, tmp_path).values()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, sources)], capture_output=True, text=True, check=True, timeout=240
    )
    ended: dict[str, int] = json.loads(done.stdout)
    let_in = [source.name for source in sources if Path(f"{source}.tensors").exists()]
    reports = [Path(f"{source}.report").read_text() for source in sources if Path(f"{source}.report").exists()]
    ledger.record(
        "pickles carried to import-weights",
        tried=len(ended),
        let_in=len(let_in),
        canaries_fired=int(canary.exists()),
        told_how_to_disarm=sum("weights_only" in one for one in reports),
    )
    assert let_in == []
    assert not canary.exists()
    assert len(ended) == len(sources) == len(reports)
    assert not any("weights_only" in one or "0x" in one for one in reports)


HOSTILE = """
import os, socket, subprocess, sys
from zoo_core.disk.sandbox import deny_audit_events
from zoo_core.engine.models import unpickle
deny_audit_events(unpickle.FORBIDDEN, unpickle.ALLOWED)
for attempt in (
    lambda: os.system("touch " + sys.argv[1]),
    lambda: subprocess.run(["touch", sys.argv[1]]),
    lambda: os.execv("/bin/sh", ["sh"]),
    lambda: os.fork(),
    lambda: os.posix_spawn("/bin/sh", ["sh"], {}),
    lambda: socket.create_connection(("127.0.0.1", 9), 1),
):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit(1)
"""


def test_the_sandbox_starts_no_program_and_opens_no_connection(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    done = subprocess.run([sys.executable, "-c", HOSTILE, str(canary)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not canary.exists()
