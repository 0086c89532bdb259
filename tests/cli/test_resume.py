"""`zoo run --resume`: which run is resumed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Zoo
from zoo_core import Registry, Store
from zoo_core.engine.training.run import execute
from zoo_core.events import Saved
from zoo_core.runs.directory import RunDir

pytestmark = pytest.mark.usefixtures("with_pond")

LATEST = "runs/pond/latest"


class Killed(BaseException):
    """Ends a run in a way that nothing can handle."""


@pytest.fixture
def unfinished(pond: Registry) -> Path:
    """A run that was killed after three steps, below ./runs."""

    def die(event: object) -> None:
        if isinstance(event, Saved) and event.step == 3:
            raise Killed

    with pytest.raises(Killed):
        execute(pond.plan("pond"), store=Store.default(), on_event=die, checkpoint_every=0)
    (path,) = (path for path in Path("runs/pond").iterdir() if not path.is_symlink())
    RunDir(path).write_result("running", reason="process 1 on a machine that is gone")
    return path


@pytest.mark.parametrize(
    "typed", [("pond", "--resume", "auto"), ("--resume", "auto"), ("--resume", "runs/pond/latest")]
)
def test_the_unfinished_run_is_resumed(zoo: Zoo, unfinished: Path, typed: tuple[str, ...]) -> None:
    said = zoo("run", *typed)
    assert said.code == 0, said.err
    assert "Resuming from epoch 1, step 3" in said.err
    assert RunDir(unfinished).status == "finished"
    assert [path.name for path in Path("runs/pond").iterdir() if not path.is_symlink()] == [unfinished.name]


def test_auto_starts_a_run_where_none_is_unfinished(zoo: Zoo) -> None:
    for number in (1, 2):
        assert zoo("run", "pond", "--resume", "auto").code == 0
        assert len(list(Path("runs/pond").glob("2*"))) == number


def test_auto_only_resumes_runs_of_the_named_recipe(zoo: Zoo, unfinished: Path) -> None:
    assert zoo("run", "pond-features", "--resume", "auto").code == 0
    assert RunDir(unfinished).status == "running"


def test_another_recipe_is_refused_with_all_that_differs(zoo: Zoo, unfinished: Path) -> None:
    said = zoo("run", "pond", "--lr", "0.5", "--epochs", "9", "--resume", "auto")
    assert said.code == 2
    assert said.err.splitlines() == [
        f"Error: runs/pond/{unfinished.name} was started with a different recipe",
        "  epochs: 2 in the run, 9 now",
        "  optimizer.lr: 0.001 in the run, 0.5 now",
        f"Try: zoo run --resume runs/pond/{unfinished.name}",
    ]
    assert zoo("run", "--seed", "7", "--resume", str(unfinished)).code == 2


@pytest.mark.parametrize(
    ("typed", "code", "text"),
    [
        ((), 2, "no recipe given"),
        (("--resume", "auto"), 2, "no recipe given\nthere is no unfinished run to resume"),
        (("--resume", "nowhere"), 3, "nowhere is not a run directory"),
        (("pond", "--checkpoint-every", "-1"), 2, "greater than or equal to 0"),
    ],
)
def test_an_impossible_resume_is_explained(zoo: Zoo, typed: tuple[str, ...], code: int, text: str) -> None:
    said = zoo("run", *typed)
    assert (said.code, text in said.err) == (code, True), said.err


def test_a_run_that_has_finished_is_named(zoo: Zoo) -> None:
    assert zoo("run", "pond").code == 0
    said = zoo("run", "--resume", "runs/pond/latest")
    assert (said.code, "runs/pond/latest has finished" in said.err) == (2, True)


def test_a_damaged_plan_is_named(zoo: Zoo, unfinished: Path) -> None:
    (unfinished / "plan.json").write_text("{")
    assert zoo("run", "--resume", str(unfinished)).code == 3


def test_code_named_by_a_plan_is_never_used(zoo: Zoo, unfinished: Path) -> None:
    plan = json.loads((unfinished / "plan.json").read_text())
    plan["model"]["builder"] = plan["dataset"]["loader"] = plan["trainer"]["trainer"] = "os:abort"
    (unfinished / "plan.json").write_text(json.dumps(plan))
    assert zoo("run", "--resume", str(unfinished)).code == 0


def test_a_plan_of_other_cards_is_refused(zoo: Zoo, unfinished: Path) -> None:
    plan = json.loads((unfinished / "plan.json").read_text())
    plan["model"]["parameters"] += 1
    (unfinished / "plan.json").write_text(json.dumps(plan))
    said = zoo("run", "--resume", str(unfinished))
    assert said.code == 5
    assert "this plan was made with a different model" in said.err


def test_damaged_checkpoints_are_reported_and_skipped(zoo: Zoo, unfinished: Path) -> None:
    for path in RunDir(unfinished).checkpoints.folder.glob("*/state.safetensors"):
        path.write_bytes(b"spoilt")
    said = zoo("run", "--resume", "auto")
    assert said.code == 0
    assert said.err.count("Skipped: checkpoint") == 2
    assert "No checkpoint: starting from the beginning" in said.err
