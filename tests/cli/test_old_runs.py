"""Runs of commit ece8b4a, written before documents had a schema, can still be read, reported, used and resumed."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Zoo
from zoo_core import Plan, Registry, Store
from zoo_core.engine.training.run import execute
from zoo_core.registry.imported_weights import ImportedWeights
from zoo_core.registry.settings import UserConfig
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import find_runs
from zoo_core.runs.legacy import upgrade

OLD = Path(__file__).parents[1] / "fixtures" / "ece8b4a"
HOME = "/home/user/photos"  # the folder that they name


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of all fixtures; the path inside it is changed to the copy."""
    copy = Path(shutil.copytree(OLD, tmp_path / "old"))
    for plan in copy.rglob("plan.json"):
        plan.write_text(plan.read_text().replace(HOME, str(copy)))
    return copy


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_old_runs_are_listed_and_compared(zoo: Zoo, old: Path, with_pond: Registry) -> None:
    said = zoo("runs", "--out", old / "runs", "--json")
    assert said.code == 0, said.err
    listed = json.loads(said.out)
    assert [run["status"] for run in listed] == ["finished"] * 3
    paths = [run.path for run in find_runs(old / "runs")]
    assert zoo("runs", *paths[:2]).code == 0


@pytest.mark.parametrize("run", ["runs/pond", "runs/pond-features", "runs-data/pond", "resumed/pond"])
def test_old_runs_are_reported_predicted_with_and_evaluated(zoo: Zoo, old: Path, with_pond: Registry, run: str) -> None:
    path = only(old / run)
    assert zoo("report", path).code == 0
    assert (path / "report.html").is_file()
    said = zoo("predict", path, old / "pets" / "train" / "cat" / "0.png", "--json")
    assert said.code == 0, said.err
    said = zoo("eval", path, "--json", "--precision", "float32")
    assert said.code == 0, said.err
    metrics = RunDir(path).read_json("result.json")["metrics"]
    expected = metrics.get("test_accuracy", metrics["validation_accuracy"])
    assert json.loads(said.out)["accuracy"] == pytest.approx(expected, abs=1e-6)


def test_an_old_run_with_published_metrics_is_reported_and_used(zoo: Zoo, old: Path) -> None:
    path = only(old / "runs" / "fashion-cnn")
    assert zoo("report", path).code == 0
    assert zoo("predict", path, old / "pets" / "train" / "cat" / "0.png").code == 0
    assert zoo("eval", path, "--json").code == 0


@pytest.mark.parametrize("run", ["runs/pond", "runs/pond-features", "runs-data/pond"])
def test_old_runs_are_reproduced(zoo: Zoo, old: Path, with_pond: Registry, run: str) -> None:
    said = zoo("reproduce", only(old / run))
    assert said.code == 0, said.err + said.out


@pytest.mark.parametrize("recipe", ["pond", "pond-patient"])
def test_old_checkpoints_are_resumed(zoo: Zoo, old: Path, with_pond: Registry, recipe: str) -> None:
    path = only(old / "interrupted" / recipe)
    said = zoo("run", "--resume", path, "--out", old / "interrupted")
    assert said.code == 0, said.err
    assert RunDir(path).status == "finished"


def test_an_old_checkpoint_resumes_to_the_same_bits(old: Path, pond: Registry, tmp_path: Path) -> None:
    """The same bits as ece8b4a reached from this checkpoint, on the processor it ran on; close to them elsewhere."""
    path = only(old / "interrupted" / "pond")
    plan = pond.plan_again(RunDir(path).plan())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        execute(plan, store=Store(tmp_path / "store"), out=tmp_path, resume=RunDir(path))
    finally:
        torch.set_num_threads(threads)
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (path, only(old / "resumed" / "pond")))
    here = (platform.python_version(), torch.__version__.partition("+")[0], torch.cpu._is_avx512_bf16_supported())
    for name, tensor in theirs.items():
        if here == ("3.11.7", "2.14.1", True):  # what the fixture was made with
            assert torch.equal(ours[name], tensor), name
        torch.testing.assert_close(ours[name], tensor)


@pytest.mark.parametrize("name", [path.stem for path in sorted((OLD / "plans").iterdir())])
def test_old_plans_are_the_plans_of_the_installed_cards(installed: Registry, name: str) -> None:
    plan = Plan.model_validate(upgrade("plan.json", json.loads((OLD / "plans" / f"{name}.json").read_text())))
    again = installed.plan_again(plan)
    assert again.recipe.name == plan.recipe.name
    assert again.trainer.trainer.startswith("zoo_core:")


def test_old_configuration_and_imported_weights_are_read(old: Path) -> None:
    assert UserConfig(old / "config" / "config.json").settings().disabled == ("zoo-timm",)
    cards, problems = ImportedWeights(old / "config" / "weights").load()
    assert not problems
    assert [card.name for card in cards["fashion-cnn"]] == ["mine"]


def test_documents_of_a_newer_schema_are_refused(zoo: Zoo, old: Path, with_pond: Registry) -> None:
    path = only(old / "runs" / "pond")
    plan = json.loads((path / "plan.json").read_text())
    (path / "plan.json").write_text(json.dumps({"schema": 2, **plan}))
    said = zoo("report", path)
    assert said.code == 3
    assert "schema 2" in said.err


def test_every_document_has_a_schema(pond: Registry, tmp_path: Path) -> None:
    run = execute(pond.plan("pond"), store=Store(tmp_path / "store"), out=tmp_path / "runs").directory
    documents = sorted(run.rglob("*.json"))
    assert {path.name for path in documents} >= {"plan.json", "environment.json", "result.json", "mistakes.json"}
    assert all(json.loads(path.read_bytes())["schema"] == 1 for path in documents)
