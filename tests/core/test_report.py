"""The page that is made of a run's files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from zoo_core import DataError, Predictions, PredictionTable, Registry
from zoo_core.events import EpochResult
from zoo_core.results import Mistake, compare
from zoo_core.runs.directory import RunDir
from zoo_core.runs.report import render, write_report

DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


@pytest.fixture
def run(pond: Registry, tmp_path: Path) -> RunDir:
    """A finished run, written by hand."""
    run = RunDir.create(
        tmp_path, pond.plan("pond"), {"python": "3.11", "command": "zoo run pond", "packages": {"x": "1"}}
    )
    predictions = Predictions(("a.png", "b.png"), (0, 1), ((0.8, 0.1, 0.1), (0.5, 0.3, 0.2)))
    for epoch in (1, 2):
        run.record(EpochResult(epoch, 2, {"loss": 1 / epoch, "train_accuracy": 0.4 * epoch}, 1.5))
    run.write_predictions(PredictionTable.of(predictions, ("ducks", "frogs", "newts")))
    run.write_mistakes(
        [Mistake("b.png", "frogs", "ducks", 0.3, DOT, DOT), Mistake("a.png", "ducks", "ducks", 0.8, DOT, None)]
    )
    run.write_result("finished", metrics={"loss": 0.5, "train_accuracy": 0.8}, comparisons=compare(None, {}))
    return run


class Tags(HTMLParser):
    """Collects what a page would load, and what it runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]


def test_the_page_holds_everything(run: RunDir) -> None:
    page = write_report(run).read_text()
    text = re.sub(r"<[^>]+>", " ", page)
    for said in ("ducks", "frogs", "b.png", "zoo run pond", "zoo reproduce", "calibration error", "80.00 %"):
        assert said in text, said
    assert page.count("<svg") == 4  # loss, accuracy, confusion, calibration
    assert page.count("<img") == 3


def test_the_page_needs_nothing_beside_it(run: RunDir) -> None:
    page = Tags(render(run))
    assert all(one.startswith(("data:", "#")) for one in page.loads), page.loads
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_names_from_outside_are_text(run: RunDir) -> None:
    nasty = "<script>alert(1)</script>.png"
    run.write_mistakes([Mistake(nasty, "frogs", "<b>", 0.1, DOT, None)])
    page = render(run)
    assert "script" not in Tags(page).tags
    assert "&lt;script&gt;" in page


def test_a_page_shows_no_file_but_the_runs_own(run: RunDir, tmp_path: Path) -> None:
    """What a list of mistakes says of files is not followed."""
    (tmp_path / "secret").write_bytes(b"secret")
    told = {"name": "x", "label": "frogs", "predicted": "frogs", "probability": 0.1, "image": "../../../secret"}
    (run.path / "mistakes.json").write_text(json.dumps({"mistakes": [told]}))
    assert "c2VjcmV0" not in render(run)


def test_an_unfinished_run_has_a_page_too(pond: Registry, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, pond.plan("pond"), {})
    assert "interrupted: killed" in render(run)
    with run.locked():
        assert "running" in render(run)
    run.write_result("interrupted", reason="Ctrl-C")
    assert "interrupted: Ctrl-C" in render(run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", b"{"),
        ("result.json", b"[1]"),
        ("result.json", b'{"reference": [{"metric": 1}]}'),
        ("mistakes.json", b'{"mistakes": [1]}'),
        ("mistakes.json", b'{"mistakes": [{"name": "x"}]}'),
        ("predictions.csv", b"image\nx\n"),
        ("predictions.csv", b""),
        ("predictions.csv", b"image,label,prediction,p(a)\nx,y,z,0.5\n"),
        ("predictions.csv", b"image,label,prediction,p(a)\nx,a,a,much\n"),
        ("result.json", b'{"metrics": 3}'),
        ("metrics.jsonl", b'{"epoch": 1, "loss": 1, "kinds": 3}\n'),
        ("metrics.jsonl", b'{"epoch": 1, "loss": 1}\n{"epoch": 2}\n'),
        ("environment.json", b"\xff"),
    ],
)
def test_damaged_files_are_named(run: RunDir, name: str, content: bytes) -> None:
    (run.path / name).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        render(run)


def test_a_process_that_does_not_write_writes_nothing(run: RunDir) -> None:
    silent = replace(run, writes=False)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    silent.write_result("failed")
    silent.write_report("page")
    silent.record(EpochResult(3, 3, {"loss": 0.1}, 1.0))
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
