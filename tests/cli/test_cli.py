"""The command line: exact output at a fixed width, streams and exit codes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load

from tests.conftest import Zoo
from zoo_core import Recipe, Registry
from zoo_core.cli.commands.run import parse_overrides
from zoo_core.registry.imported_weights import ImportedWeights

pytestmark = pytest.mark.usefixtures("with_pond")

LAYERS = """\
layer  type         output     parameters  trainable  arithmetic
conv   Conv2d       8 × 6 × 6         216  no         8 × (3·3·3) = 216
bn     BatchNorm2d  8 × 6 × 6          16  no         2 × 8 = 16
fc     Linear       3                  27  yes        3 × (8 + 1) = 27

259 parameters. MB for one image: input 0.00, forward and backward 0.00, parameters 0.00, total 0.01
"""


def columns(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_list_prints_a_table(zoo: Zoo) -> None:
    said = zoo("list", "[ap]*net")
    assert said.code == 0
    assert said.err == ""
    assert lines(said.out) == [
        "kind   name      what                   summary",
        "model  pond-net  259 parameters         A convolution with BatchNorm, and a linear head",
        "model  alexnet   61,100,840 parameters  Neither weights nor classes",
    ]


def test_names_stay_whole_on_a_narrow_terminal(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    said = zoo("list")
    for name in ("pond-features", "horses-inception-as-printed"):
        assert name in said.out


def test_list_as_json_holds_every_kind(zoo: Zoo) -> None:
    listed = json.loads(zoo("list", "--json").out)
    assert [one["name"] for one in listed["models"]] == ["alexnet", "pond-net"]
    assert listed["models"][1]["parameters"] == 259
    assert {"pond", "horses-inception"} <= {one["name"] for one in listed["recipes"]}
    expected = ["finetune", "frozen-features", "logistic-head", "patient", "supervised"]
    assert [one["name"] for one in listed["trainers"]] == expected


def test_a_pattern_that_matches_nothing_exits_with_2(zoo: Zoo) -> None:
    said = zoo("list", "*zebra*")
    assert (said.code, said.out) == (2, "")
    assert "No name matches '*zebra*'" in said.err


def test_layers_are_shown_with_their_arithmetic(zoo: Zoo) -> None:
    assert lines(zoo("show", "pond-net", "--layers").out) == LAYERS.splitlines()


def test_show_prints_a_card(zoo: Zoo) -> None:
    assert lines(zoo("show", "patient").out) == [
        "trainer",
        "name      patient",
        "summary   Saves in the middle of an epoch",
        "trainer   zoo_pond.trainer:Patient",
        "settings  zoo_pond.settings:PatientSettings",
        "tasks     single-label",
        "uses      epochs, batch_size, optimizer",
        "--set                      values   default  meaning",
        "settings.checkpoint_every  int > 0  2        steps between checkpoints",
        "",
    ]


def test_show_as_json_is_the_card(zoo: Zoo, pond: Registry) -> None:
    shown = json.loads(zoo("show", "pond-net", "--json").out)
    assert shown["model"] == pond.model("pond-net").model_dump(mode="json")


def test_check_passes_for_what_is_right_and_fails_by_name(zoo: Zoo) -> None:
    assert zoo("check", "pond-net").code == 0
    assert zoo("check").code == 0
    said = zoo("check", "horses-cnn")
    assert said.code == 9
    assert "horses-cnn: plan: expected complete, found no model named 'horses-cnn'" in said.err
    assert {one["passed"] for one in json.loads(zoo("check", "pond-net", "--json").out)} == {True}


def test_plugins_lists_what_each_plugin_provides(zoo: Zoo) -> None:
    assert lines(zoo("plugins").out) == [
        "plugin          provides",
        "zoo-core        trainers: supervised, frozen-features, finetune, logistic-head; components: macro-f1",
        "zoo-pond 1.2.3  models: pond-net, alexnet; datasets: pond; trainers: patient; recipes: pond, pond-features, "
        "pond-patient",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("show", "pond-nett"), 2, "did you mean 'pond-net'?\nTry: zoo list"),
        (("run", "ponnd"), 2, "no recipe named 'ponnd'; did you mean 'pond'?"),
        (("run", "pond", "--set", "epoch=3"), 2, "epoch: unknown key; did you mean 'epochs'?"),
        (("run", "pond", "--set", "lr=0.1"), 2, "lr: unknown key; did you mean 'optimizer.lr'?"),
        (("run", "pond", "--set", "epochs"), 2, "--set epochs is not KEY=VALUE"),
        (("run", "pond", "--epochs", "0"), 2, "epochs: Input should be greater than 0"),
        (("run", "pond", "--epochs", "many"), 2, "Invalid value for '--epochs'"),
        (("run", "pond", "--weights", "pretrained"), 2, "pond-net has no 'pretrained' weights"),
        (("run", "pond", "--edition", "drwn"), 2, "no edition of pond named 'drwn'; did you mean 'drawn'?"),
        (("run", "pond", "--device", "tpu"), 2, "device 'tpu' is not available"),
        (("run", "horses-cnn"), 2, "no model named 'horses-cnn'"),
        (("predict", "pond-net", "x.png"), 2, "Try: zoo run pond-net --weights none"),
        (("predict", "pond-net", "x.png", "--weights", "none"), 2, "cannot classify images with random weights"),
        (("run", "pond-net"), 2, "pond-net is a model, not a recipe"),
        (("run", "."), 2, ". is a folder, not a recipe\nTry: zoo run RECIPE --data ."),
        (("train", "pond"), 2, "no command named 'train'\nTry: zoo run"),
        (("predict", "runs/nothing", "x.png"), 2, "no model or run named 'runs/nothing'"),
        (("pull", "pond.drwn"), 2, "no edition of pond named 'drwn'; did you mean 'drawn'?"),
        (("pull", "pnd"), 2, "did you mean 'pond'?"),
        (("cache", "rm", "nothing"), 2, "no cached file named 'nothing'"),
        (("frobnicate",), 2, "No such command 'frobnicate'"),
        (("check", "pond-nett"), 2, "did you mean 'pond-net'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_reported_on_stderr(zoo: Zoo, arguments: tuple[str, ...], code: int, text: str) -> None:
    said = zoo(*arguments)
    assert (said.code, said.out) == (code, "")
    assert text in said.err
    assert "Traceback" not in said.err


def test_a_run_ends_with_a_table_and_says_where_it_is_saved(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--epochs", "1", "--seed", "7")
    assert said.code == 0
    assert columns(lines(said.out)[0]) == ["measured", "95 % interval", "majority class"]
    (accuracy,) = (columns(line) for line in lines(said.out) if line.startswith("test accuracy"))
    assert re.fullmatch(r"[\d.]+ – [\d.]+ %", accuracy[-2])
    assert accuracy[-1] == "33.33 %"
    assert [line.split("  ")[0] for line in lines(said.out)[1:3]] == ["loss", "train accuracy"]
    assert "epoch 1/1   loss" in said.err
    assert "Results saved to runs/pond/" in said.err
    assert json.loads(Path("runs/pond/latest/plan.json").read_text())["recipe"]["seed"] == 7


def test_a_run_that_keeps_the_best_epoch_names_it(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--epochs", "9", "--set", "keep=best", "--set", "patience=1")
    first = lines(said.out)[0]
    assert re.fullmatch(
        r"best epoch (\d) of \d: validation accuracy [\d.]+ %; "
        r"stopped after epoch \d of 9: no better validation accuracy for 1 epoch",
        first,
    )
    document = json.loads(Path("runs/pond/latest/result.json").read_text())
    assert f"best epoch {document['kept']['epoch']} of {document['kept']['trained']}" in first


def test_a_run_as_json_is_one_document(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--json", "--set", "optimizer.lr=0.01", "--lr", "0.02", "--out", "elsewhere")
    document = json.loads(said.out)
    assert document["run"].startswith("elsewhere/pond/")
    assert set(document["metrics"]) >= {"loss", "train_accuracy", "validation_accuracy", "test_accuracy"}
    plan = json.loads(Path(document["run"], "plan.json").read_text())
    assert plan["recipe"]["optimizer"]["lr"] == 0.02  # a dedicated flag overrides --set


def test_a_dry_run_prints_the_plan_and_does_nothing(zoo: Zoo) -> None:
    said = zoo("run", "pond-patient", "--dry-run", "--set", "settings.checkpoint_every=5")
    assert json.loads(said.out)["settings"] == {"checkpoint_every": 5}
    assert not Path("runs").exists()


def test_a_users_registry_adds_a_recipe_with_published_metrics(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, pond: Registry, tmp_path: Path
) -> None:
    """The table compares, and with --strict a metric that does not match ends with exit code 9."""
    documented = {
        "section": "p",
        "metrics": {"train_accuracy": {"at_least": 1.1, "quote": "110 %"}},
        "log": {"loss": [9]},
    }
    recipe = {**pond.recipes["pond"].model_dump(), "reference": documented}
    changed = replace(pond, tables={**pond.tables, "recipes": {"pond": Recipe.model_validate(recipe)}})
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): changed)
    said = zoo("run", "pond", "--strict")
    assert said.code == 9
    row = next(line for line in lines(said.out) if line.startswith("train accuracy"))
    assert row.split()[2:4] == ["≥", "110.00"]
    assert row.endswith("no match")
    assert "loss: published" in said.out
    assert "a metric of pond does not match the published one" in said.err
    assert zoo("run", "pond").code == 0


@pytest.fixture
def run(zoo: Zoo) -> Path:
    assert zoo("run", "pond", "--epochs", "1").code == 0
    return Path("runs/pond/latest")


def test_predict_prints_a_line_for_each_image(zoo: Zoo, run: Path) -> None:
    Image.new("RGB", (9, 9), (200, 20, 20)).save("a.png")
    said = zoo("predict", run, "a.png", "--top-k", "2")
    assert said.code == 0
    name, *ranking = said.out.split("  ")
    assert name == "a.png"
    assert len(ranking) == 2
    assert "Using run" in said.err


def test_predict_as_json_lines_skips_bad_images(zoo: Zoo, run: Path) -> None:
    Path("pictures").mkdir()
    Image.new("RGB", (9, 9)).save("pictures/a.png")
    Path("pictures/b.png").write_bytes(b"not an image")
    Image.new("L", (9, 9)).save("pictures/c.png")
    said = zoo("predict", run, "pictures", "--json")
    assert said.code == 3
    document = [json.loads(line) for line in said.out.splitlines()]
    assert [one["image"] for one in document] == ["pictures/a.png", "pictures/c.png"]
    assert set(document[0]) == {"image", "label", "probability", "top", "model"}
    assert "pictures/b.png is not an image" in said.err
    assert "1 image could not be read" in said.err


def test_predict_reads_an_image_from_stdin(zoo: Zoo, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    Image.new("RGB", (9, 9)).save(content, "PNG")
    content.seek(0)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(content))
    said = zoo("predict", run, "-", "--json")
    assert json.loads(said.out)["image"] == "-"


def test_predict_skips_an_image_that_does_not_exist(zoo: Zoo, run: Path) -> None:
    Image.new("RGB", (9, 9)).save("a.png")
    said = zoo("predict", run, "a.png", "nothing.png", "a.png")
    assert said.code == 3
    assert len(said.out.splitlines()) == 2
    assert "nothing.png does not exist" in said.err


def test_a_terminal_without_the_signs_still_gets_the_table(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "zoo_core", "show", "fashion-cnn", "--layers"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "295,040" in done.stdout


def test_an_empty_name_deletes_nothing(zoo: Zoo) -> None:
    assert zoo("cache", "rm", "").code == 2


def test_layers_as_json(zoo: Zoo) -> None:
    assert json.loads(zoo("show", "pond-net", "--layers", "--json").out)["parameters"] == 259


def test_predict_with_no_such_image(zoo: Zoo, run: Path) -> None:
    said = zoo("predict", run, "nothing.png")
    assert said.code == 3
    assert "nothing.png does not exist" in said.err


def test_pull_from_the_wrong_place_says_what_it_looked_for(zoo: Zoo) -> None:
    Path("empty").mkdir()
    said = zoo("pull", "pond", "--from", "empty")
    assert said.code == 3
    assert "pond.drawn (pond): no file in empty has its content" in said.err
    assert zoo("pull", "pond", "--from", "nowhere").code == 3


def test_pull_cache_ls_verify_and_rm(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    Path("repacked").write_bytes(b"pond\n")
    assert zoo("pull", "pond", "--from", "repacked").out.startswith("pond.drawn (pond)  ")
    (listed,) = json.loads(zoo("cache", "ls", "--json").out)
    assert (listed["name"], listed["size"]) == ("pond.drawn (pond)", 5)
    assert zoo("cache", "verify").out == "1 intact\n"
    Path(listed["path"]).write_bytes(b"pomd\n")
    said = zoo("cache", "verify")
    assert said.code == 5
    assert "1 of 1 were damaged and have been deleted" in said.err
    zoo("pull", "pond", "--from", "repacked")
    assert zoo("cache", "rm", "pond").out == "1 deleted, 5 B\n"
    assert zoo("cache", "ls").out == ""


def test_env_prints_machine_and_settings(zoo: Zoo) -> None:
    document = json.loads(zoo("env", "--json").out)
    assert document["packages"]["torch"].startswith("2.")
    assert document["cache"] == os.environ["ZOO_CACHE"]
    assert "torchvision" in zoo("env").out


def test_version_and_help(zoo: Zoo) -> None:
    assert zoo("--version").out.startswith("zoo 0.")
    assert zoo("-V").code == 0
    assert "Train a model from a recipe" in zoo("-h").out


def test_a_bug_in_zoo_is_called_one_and_a_traceback_is_one_variable_away(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("zoo_core.cli.commands.show._print", broken)
    said = zoo("show", "pond-net")
    assert said.code == 1
    assert (
        "ZeroDivisionError: oh\nThis is a bug in zoo; ZOO_DEBUG=1 shows the traceback\nTry: export ZOO_DEBUG=1"
        in said.err
    )
    monkeypatch.setenv("ZOO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        zoo("show", "pond-net")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_names_and_needs_no_torch(shell: str) -> None:
    completion = {"COMP_WORDS": "zoo show horses-", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "zoo show horses-"}
    completion["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    environment = {**os.environ, "_ZOO_COMPLETE": f"complete_{shell}", **completion}
    program = "import sys\nfrom zoo_core.cli import main\nsys.argv = ['zoo']\n"
    program += "try: main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "horses-inception" in done.stdout


@pytest.fixture
def listening_to_ctrl_c() -> Iterator[None]:
    """A shell's background jobs ignore SIGINT, and their children inherit that; what we start here must not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening_to_ctrl_c")
def test_ctrl_c_ends_with_130_and_leaves_a_readable_run(tmp_path: Path) -> None:
    """A real signal to a real process, in the middle of training."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_core", "run", "fashion-cnn", "--epochs", "50", "--out", str(tmp_path / "runs")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1/50"):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in rest
    latest = tmp_path / "runs" / "fashion-cnn" / "latest"
    assert json.loads((latest / "result.json").read_text())["status"] == "interrupted"
    assert len((latest / "metrics.jsonl").read_text().splitlines()) >= 1


def test_eval_prints_accuracy_classes_and_confusion(zoo: Zoo, run: Path) -> None:
    said = zoo("eval", run, "--split", "validation")
    assert said.code == 0
    first, second, _, header, *rows = lines(said.out)
    for what in ("95 % interval", "majority class 33.33 %", "balanced accuracy", "macro F1"):
        assert what in second
    assert first.startswith("accuracy ")
    assert first.split("   ")[0].endswith("of 24")
    assert header.split() == ["class", "images", "precision", "recall"]
    assert rows[0].split()[:2] == ["ducks", "8"]
    assert "true \\ predicted" in said.out
    assert "computed in " in first
    assert "on the 24 validation images of pond.drawn" in said.err


def test_eval_as_json_agrees_with_the_runs_own_measurement(zoo: Zoo, run: Path) -> None:
    document = json.loads(zoo("eval", run, "--json").out)
    measured = json.loads((run / "result.json").read_text())["metrics"]
    assert document["accuracy"] == pytest.approx(measured["test_accuracy"])
    assert document["loss"] == pytest.approx(measured["test_loss"], rel=1e-5)
    assert document["balanced_accuracy"] == pytest.approx(measured["test_balanced_accuracy"])
    low, high = document["accuracy_interval"]
    assert low <= document["accuracy"] <= high
    assert sum(map(sum, document["confusion"])) == document["n"] == 12
    for number, one in enumerate(document["classes"]):
        assert one["recall"] == pytest.approx(document["confusion"][number][number] / 4)


def test_eval_on_a_folder_of_other_classes_is_refused(zoo: Zoo, run: Path) -> None:
    for name in ("cats", "dogs"):
        Path("pets", name).mkdir(parents=True)
        for one in range(30):
            Image.new("RGB", (9, 9), (one, 0, 0)).save(Path("pets", name, f"{one}.png"))
    said = zoo("eval", run, "--data", "pets")
    assert said.code == 3
    assert "images: cats, dogs; model: ducks, frogs, newts" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--dataset", "pnd"), 2, "no dataset named 'pnd'; did you mean 'pond'?"),
        (("--dataset", "pond.drwn"), 2, "no edition of pond named 'drwn'"),
        (("--data", "nowhere"), 3, "nowhere is not a folder"),
        (("--split", "holdout"), 2, "Invalid value for '--split'"),
    ],
)
def test_eval_with_bad_input(zoo: Zoo, run: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    said = zoo("eval", run, *arguments)
    assert (said.code, said.out) == (code, "")
    assert text in said.err


@pytest.mark.parametrize("name", ["page.html", "page.png"])
def test_explain_writes_one_self_contained_file(zoo: Zoo, run: Path, name: str) -> None:
    Image.new("RGB", (9, 9), (200, 20, 20)).save("<b>&.png")
    said = zoo("explain", run, "<b>&.png", "--out", name)
    assert (said.code, said.out) == (0, f"{name}\n")
    content = Path(name).read_bytes()
    if name.endswith("png"):
        with Image.open(name) as picture:
            assert picture.width > 500
        return
    page = content.decode()
    assert "<b>&.png" not in page
    assert "&lt;b&gt;&amp;.png" in page
    assert "without padding a 3 × 3 filter loses 2: 8 → 6" in page
    assert "8 × (3·3·3) = 216" in page
    assert not [word for word in ("http:", "https:", "<script", 'src="/') if word in page]


def test_explain_with_no_such_image(zoo: Zoo, run: Path) -> None:
    said = zoo("explain", run, "nothing.png")
    assert said.code == 3
    assert "nothing.png cannot be read" in said.err
    assert not Path("explain.html").exists()


def test_export_writes_weights_and_what_a_card_needs(zoo: Zoo, run: Path) -> None:
    document = json.loads(zoo("export", run, "w.safetensors", "--dtype", "float16", "--json").out)
    content = Path("w.safetensors").read_bytes()
    assert (document["covers"], document["backbone"], document["size"]) == ("all", None, len(content))
    assert document["sha256"] == hashlib.sha256(content).hexdigest()
    assert {tensor.dtype for name, tensor in load(content).items() if "num_batches" not in name} == {torch.float16}
    assert zoo("export", "nowhere", "w2.safetensors").code == 3


def test_a_run_on_a_folder_drops_the_published_column(zoo: Zoo) -> None:
    for name in ("cats", "dogs"):
        Path("pets", name).mkdir(parents=True)
        for one in range(30):
            Image.new("RGB", (9, 9), (one, 200 * (name == "cats"), 0)).save(Path("pets", name, f"{one}.png"))
    said = zoo("run", "pond", "--data", "pets")
    assert said.code == 0
    assert columns(lines(said.out)[0]) == ["measured", "95 % interval", "majority class"]
    assert zoo("eval", "runs/pets/latest", "--json").code == 0
    Path("pets", "cats", "bad.png").write_bytes(b"bad")
    again = zoo("run", "pond", "--data", "pets")
    assert again.code == 3
    assert "  error: 1 image cannot be used\n    cats/bad.png: unsupported or corrupt" in again.err


@pytest.mark.parametrize("name", ["out.pt", "weights"])
def test_export_refuses_formats_it_cannot_write(zoo: Zoo, run: Path, name: str) -> None:
    said = zoo("export", run, name)
    assert said.code == 2
    assert ".onnx, .pt2, .safetensors are" in said.err
    assert not Path(name).exists()


def test_export_keeps_an_existing_file_unless_forced(zoo: Zoo, run: Path) -> None:
    Path("w.safetensors").write_bytes(b"precious")
    said = zoo("export", run, "w.safetensors")
    assert (said.code, Path("w.safetensors").read_bytes()) == (2, b"precious")
    assert "w.safetensors --force" in said.err
    assert zoo("export", run, "w.safetensors", "--force").code == 0


@pytest.mark.parametrize("recipe", ["pond", "pond-features"])
def test_an_export_can_be_imported_again(
    zoo: Zoo, recipe: str, pond: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its classes, which its metadata names."""
    assert zoo("run", recipe, "--epochs", "1").code == 0
    document = json.loads(zoo("export", f"runs/{recipe}/latest", "mine.safetensors", "--json").out)
    said = zoo("import-weights", "mine.safetensors", "--model", "pond-net", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["covers"] == document["covers"]
    cards, problems = ImportedWeights.default().load()
    assert problems == []
    assert cards["pond-net"][0].classes == ("ducks", "frogs", "newts")
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): replace(pond, imported_weights=cards))
    assert zoo("eval", "pond-net", "--weights", "mine", "--dataset", "pond", "--json").code == 0


def test_explain_refuses_what_it_cannot_write(zoo: Zoo, run: Path) -> None:
    Image.new("RGB", (9, 9)).save("a.png")
    said = zoo("explain", run, "a.png", "-o", "page.pdf")
    assert said.code == 2
    assert "a page (.html) or a picture (.png)" in said.err
    assert not Path("page.pdf").exists()
    said = zoo("explain", run, ".")
    assert (said.code, ". is a folder" in said.err) == (2, True)


def test_a_url_is_not_taken_for_a_file(zoo: Zoo, run: Path) -> None:
    said = zoo("predict", run, "https://example.com/c.jpg")
    assert said.code == 3
    assert "https://example.com/c.jpg is a URL" in said.err


def test_escape_sequences_of_a_foreign_run_are_printed_escaped(zoo: Zoo, run: Path) -> None:
    for name in ("plan.json", "result.json"):
        path = run / name
        path.write_text(
            path.read_text().replace("ducks", r"\u001b]0;PWNED\u0007ducks").replace("finished", r"\u001b[31m")
        )
    Image.new("RGB", (9, 9)).save("a.png")
    for said in (zoo("predict", run, "a.png"), zoo("runs"), zoo("eval", run)):
        assert "\x1b" not in said.out + said.err
        assert "\\x1b" in said.out + said.err


def test_emoji_codes_and_spaces_in_paths_survive_and_are_quoted(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--epochs", "1", "--out", "o p:dog:")
    assert said.code == 0
    assert "Try: zoo predict 'o p:dog:/pond/" in said.err


def test_json_is_accepted_where_toml_is() -> None:
    parsed = parse_overrides(['augment=[{"name": "horizontal-flip"}]', 'a=[{name="x"}]', "b=text", "c=1"])
    assert parsed == {"augment": [{"name": "horizontal-flip"}], "a": [{"name": "x"}], "b": "text", "c": 1}


def test_a_dry_run_refuses_a_device_that_is_not_there(zoo: Zoo) -> None:
    said = zoo("run", "pond", "--dry-run", "--device", "mps")
    assert said.code == 2
    assert len(said.err) < 400  # not PyTorch's dispatcher dump


def test_eval_as_json_names_its_precision(zoo: Zoo, run: Path) -> None:
    assert json.loads(zoo("eval", run, "--json", "--precision", "float32").out)["precision"] == "float32"
