"""Progress: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from zoo_core import progress as bars
from zoo_core.events import EpochResult, Progress
from zoo_core.progress import Bars, counted, progress_line, rate


@pytest.mark.parametrize(
    ("step", "speed", "line"),
    [
        (Progress("features", 320, 1027, "images"), 31.0, "features: 320 of 1,027 images, 31/s, 23 s left"),
        (Progress("fetching", 12_300_000, 81_300_000, "B"), 6.9e6, "fetching: 12.3 MB of 81.3 MB, 6.9 MB/s, 10 s left"),
        (Progress("looking", 3, 9), 0.5, "looking: 3 of 9, 0.5/s, 12 s left"),
        (Progress("looking", 3, 9), 0.0, "looking: 3 of 9"),
    ],
)
def test_a_line_says_how_far_how_fast_and_how_long(step: Progress, speed: float, line: str) -> None:
    assert progress_line(step, speed) == line


def test_amounts_are_counted_in_their_unit() -> None:
    assert counted(1, 2, "steps") == "1 of 2 steps"
    assert rate(1234.5, "images") == "1,234/s"


def test_without_a_terminal_there_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(float(second) for second in range(20))
    monkeypatch.setattr(bars, "monotonic", lambda: next(now))
    with Bars() as on_event:
        for done in range(0, 20, 2):
            on_event(Progress("work", done, 20, "images"))
    said = capsys.readouterr().err.splitlines()
    assert said == ["work: 8 of 20 images, 2.0/s, 6 s left", "work: 18 of 20 images, 2.0/s, 1 s left"]


def test_a_rate_is_only_shown_once_it_means_something(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 5.0, 6.0])
    monkeypatch.setattr(bars, "monotonic", lambda: next(times))
    with Bars() as on_event:
        on_event(Progress("fetching", 0, 87_300_000, "B"))
        on_event(Progress("fetching", 233, 87_300_000, "B"))
    assert capsys.readouterr().err == "fetching: 233 B of 87.3 MB\n"


def test_on_a_terminal_there_is_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(bars, "err", lambda: console)
    with Bars() as on_event:
        on_event(Progress("epoch 1", 50, 100, "steps"))
        on_event(EpochResult(1, 1, {"loss": 0.5, "train_accuracy": 0.9}, 1.0))
    text = screen.getvalue()
    assert "50 of 100 steps" in text
    assert "train accuracy 90.00 %" in text


def test_a_rank_behind_the_first_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(shown=False) as on_event:
        on_event(EpochResult(1, 1, {"loss": 0.5}, 1.0))
    assert capsys.readouterr().err == ""
