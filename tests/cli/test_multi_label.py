"""The commands on images with any number of labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo_meadow
from zoo_meadow.data import drawn

from tests.conftest import Zoo
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.registry import load_registry


def test_run_eval_predict_explain_and_report(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manager = new_manager()
    manager.register(zoo_meadow, name="zoo-meadow 0.1.0")
    registry = load_registry(manager=manager)
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): registry)
    images = drawn(12, seed=3)
    for index in range(len(images)):
        images[index][0].save(tmp_path / f"{index:02d}.png")

    ran = zoo("run", "meadow", "--epochs", "3", "--precision", "float32")
    assert ran.code == 0, ran.err
    assert "validation mAP" in ran.out
    assert "accuracy" not in ran.out + ran.err
    run = (tmp_path / "runs" / "meadow" / "latest").resolve()

    evaluated = zoo("eval", run)
    assert evaluated.out.startswith("mAP ")
    assert evaluated.out.splitlines()[2].split("  ")[0] == "class"
    assert "Not in the mAP, because no image has them: winged" in evaluated.out
    assert "predicted" not in evaluated.out  # no confusion matrix
    fields = json.loads(zoo("eval", run, "--json").out)
    assert {"map", "macro_f1", "micro_f1", "exact_match", "without_images"} <= fields.keys()
    assert "accuracy" not in fields
    assert fields["classes"][0].keys() >= {"threshold", "average_precision", "precision", "recall", "f1"}

    lines = zoo("predict", run, tmp_path, "--precision", "float32").out.splitlines()
    answers = [
        json.loads(line)
        for line in zoo("predict", run, tmp_path, "--precision", "float32", "--json").out.split("\n")[:-1]
    ]
    for line, answer in zip(lines, answers, strict=True):
        shown = dict((one["label"], one["probability"]) for one in answer["top"])
        chosen = ", ".join(f"{label} {shown[label]:.2f}" for label in answer["labels"]) or "none"
        assert line == f"{answer['image']}  {chosen}"
    assert len({tuple(answer["labels"]) for answer in answers}) > 2

    assert zoo("explain", run, tmp_path / "00.png", "-o", tmp_path / "page.html").code == 0
    title = ", ".join(answers[0]["labels"][:1])
    assert f"Prediction: {title}" in (tmp_path / "page.html").read_text()
    assert zoo("report", run).code == 0
    assert "test mAP" in zoo("runs").out
