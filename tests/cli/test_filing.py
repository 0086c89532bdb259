"""Where runs are filed, and what people call them: names, tags and notes, and --resume auto under all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Zoo
from zoo_core import Registry, UsageError, run as zoo_run
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import find_resumable, list_runs
from zoo_core.runs.labels import RunLabels
from zoo_core.runs.location import folder_name

pytestmark = pytest.mark.usefixtures("with_pond")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of a few images: two classes, train and validation."""
    folder = tmp_path / "home" / "My photos"
    for split in ("train", "validation"):
        for shade, kind in ((60, "cat"), (180, "dog")):
            (folder / split / kind).mkdir(parents=True)
            for number in range(2):
                color = (shade, 9 * number, 5 * len(split))
                Image.new("RGB", (32, 32), color).save(folder / split / kind / f"{number}.png")
    return folder


def made(pond: Registry, root: Path, data: Path | None, status: str = "interrupted", **labels: str) -> RunDir:
    plan = pond.plan("pond").model_copy(update={"data": data})
    run = RunDir.create(root, plan, {}, RunLabels(**labels))
    run.write_result(status)  # type: ignore[arg-type]
    return run


def test_a_run_on_own_data_is_filed_named_and_titled_after_it(zoo: Zoo, photos: Path) -> None:
    said = zoo(
        *("run", "pond", "--data", photos, "--epochs", "1", "--json"),
        *("--name", "pets-v1", "--tag", "paper", "--tag", "first", "--note", "smaller <images>"),
    )
    assert said.code == 0, said.err
    path = Path(json.loads(said.out)["run"])
    assert path == Path("runs/My-photos/pets-v1")
    assert Path("runs/latest").resolve() == Path("runs/My-photos/latest").resolve() == path.resolve()
    (listed,) = json.loads(zoo("runs", "--json").out)
    assert (listed["name"], listed["tags"], listed["note"]) == ("pets-v1", ["paper", "first"], "smaller <images>")
    assert (listed["data"], listed["split"], listed["images"]) == (str(photos), "validation", 4)
    page = (path / "report.html").read_text()
    for shown in ("pond-net on My photos", "pets-v1", "paper, first", "smaller &lt;images&gt;"):
        assert shown in page
    again = zoo("run", "pond", "--data", photos, "--name", "pets-v1")
    assert (again.code, "runs/My-photos/pets-v1 exists" in again.err) == (2, True)
    said = zoo("reproduce", path, "--name", "again", "--tag", "check")
    assert said.code == 0, said.err
    assert RunDir(Path("runs/My-photos/again")).read_labels() == RunLabels("again", ("check",))


def test_a_finished_run_is_tagged_and_noted(zoo: Zoo, pond: Registry, tmp_path: Path) -> None:
    run = made(pond, tmp_path / "runs", None, "finished")
    before = run.started
    assert zoo("tag", run.path, "best", "paper").code == 0
    assert zoo("tag", run.path.with_name("latest"), "--remove", "paper", "--note", "the one to ship").code == 0
    assert run.read_labels() == RunLabels(run.path.name, ("best",), "the one to ship")
    assert run.started == before
    assert zoo("tag", run.path, "--note", "").code == 0
    assert json.loads(zoo("tag", run.path, "--json").out) == {"run": str(run.path), "tags": ["best"], "note": ""}
    assert [row["name"] for row in json.loads(zoo("runs", "--filter", "tag=best", "--json").out)] == [run.path.name]
    for refused in (("--remove", "none"), ("a,b",), ("",)):
        assert zoo("tag", run.path, *refused).code == 2
    assert "zoo tag" in zoo("note", run.path).err


@pytest.mark.parametrize(
    "name", ["", "a/b", "a\\b", ".hidden", "..", "latest", "con", "NUL.txt", "a:b", "end.", "a b", "-x", "x" * 101]
)
def test_names_that_cannot_name_a_directory_everywhere_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        RunLabels.checked(name=name)


@pytest.mark.parametrize(
    ("data", "folder"),
    [
        ("/a/photos", "photos"),
        ("/a/photos.csv", "photos"),
        ("/a/My Photos (1)", "My-Photos-1"),
        ("/a/latest", "latest_"),
        ("/a/aux", "aux_"),
        ("/a/...", "data"),
        ("/", "data"),
        ("/a/été", "été"),
        ("/a/\udce9x", "x"),
        ("/a/" + "n" * 200, "n" * 60),
    ],
)
def test_folders_are_named_after_the_data(pond: Registry, data: str, folder: str) -> None:
    assert folder_name(pond.plan("pond").model_copy(update={"data": Path(data)})) == folder


def test_auto_resumes_only_the_same_recipe_on_the_same_data(pond: Registry, tmp_path: Path) -> None:
    root, mine, other = tmp_path / "runs", tmp_path / "a" / "photos", tmp_path / "b" / "photos"
    mine.mkdir(parents=True)
    first, second = made(pond, root, mine), made(pond, root, other)
    assert first.path.parent == second.path.parent == root / "photos"
    assert find_resumable("auto", root, "pond") is None
    own = made(pond, root, None)
    assert find_resumable("auto", root, "pond") == own
    assert find_resumable("auto", root, "pond", data=mine) == first
    assert find_resumable("auto", root, "pond", data=mine.parent / ".." / "a" / "photos") == first
    assert find_resumable("auto", root, "pond", data=other) == second
    assert find_resumable("auto", root, "pond-features", data=mine) is None
    assert find_resumable("auto", root, None) == own
    assert find_resumable("auto", root, None, data=other) == second
    assert find_resumable("auto", root, "pond", data=mine, name="else") is None
    assert {run.data for run in list_runs(root)} == {str(mine), str(other), "pond.drawn"}


def test_auto_finds_a_run_on_data_that_was_filed_under_its_recipe(pond: Registry, tmp_path: Path) -> None:
    run = made(pond, tmp_path / "new", tmp_path / "photos")
    old = tmp_path / "runs" / "pond" / "20261124T222028Z"
    old.parent.mkdir(parents=True)
    run.path.rename(old)
    (old / "run.json").unlink()
    assert find_resumable("auto", tmp_path / "runs", "pond", data=tmp_path / "photos") == RunDir(old)


def test_a_named_run_is_resumed_by_its_name_and_gets_more_tags(
    zoo: Zoo, pond: Registry, tmp_path: Path, photos: Path
) -> None:
    path = Path(json.loads(zoo("run", "pond", "--data", photos, "--name", "v1", "--tag", "a", "--json").out)["run"])
    run = RunDir(path)
    run.write_result("interrupted")
    os.chdir(photos.parent)
    line = ("run", "pond", "--data", photos.name, "--out", tmp_path / "runs", "--resume", "auto", "--name", "v1")
    said = zoo(*line, "--tag", "b", "--note", "went home", "--json")
    assert said.code == 0, said.err
    assert RunDir(tmp_path / path).read_labels() == RunLabels("v1", ("a", "b"), "went home")
    assert [run.name for run in list_runs(tmp_path / "runs")] == ["v1"]
    assert "exists" in zoo(*line).err  # it has finished: nothing is overwritten
    run = RunDir(tmp_path / path)
    run.write_result("interrupted")
    said = zoo("run", "--resume", run.path, "--name", "other")
    assert (said.code, "cannot be renamed" in said.err) == (2, True)


def test_python_takes_the_same_labels(pond: Registry, tmp_path: Path) -> None:
    result = zoo_run("pond", epochs=1, out=tmp_path / "out", registry=pond, name="small", tags=["x"], note="n")
    assert result.directory == tmp_path / "out" / "pond" / "small"
    assert RunDir(result.directory).read_labels() == RunLabels("small", ("x",), "n")
    with pytest.raises(UsageError, match="exists"):
        zoo_run("pond", out=tmp_path / "out", registry=pond, name="small")


def test_a_damaged_run_json_damages_only_its_run(zoo: Zoo, pond: Registry, tmp_path: Path) -> None:
    whole, damaged = made(pond, tmp_path / "runs", None), made(pond, tmp_path / "runs", None)
    (damaged.path / "run.json").write_text('{"schema": 1, "tags": "paper", "note": 3}')
    assert {row["name"]: row["status"] for row in json.loads(zoo("runs", "--json").out)} == {
        whole.path.name: "interrupted",
        damaged.path.name: "damaged",
    }


def test_something_else_named_latest_is_left_alone(pond: Registry, tmp_path: Path) -> None:
    (tmp_path / "runs" / "latest").mkdir(parents=True)
    (tmp_path / "runs" / "latest" / "mine").touch()
    run = made(pond, tmp_path / "runs", None)
    assert (tmp_path / "runs" / "latest" / "mine").exists()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["latest", "pond"]
    assert run.path.with_name("latest").resolve() == run.path
