"""The ledger of a run: every test may add to it; at the end it is printed, and saved to $ZOO_LEDGER."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.ledger import Ledger

HERE = Path(__file__).parent


class Counting:
    """Records what is skipped, prints the ledger, and saves it."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and HERE.name in report.nodeid and isinstance(report.longrepr, tuple):
            self.ledger.skips[report.nodeid.rpartition("/")[2]] = report.longrepr[2].removeprefix("Skipped: ")

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.ledger.figures:
            return
        terminalreporter.section("reliability")
        for line in self.ledger.lines():
            terminalreporter.write_line(line)
        if path := os.environ.get("ZOO_LEDGER"):
            self.ledger.save(Path(path))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Counting(), "ledger")


@pytest.fixture
def ledger(pytestconfig: pytest.Config) -> Ledger:
    """What this run counts."""
    counting: Any = pytestconfig.pluginmanager.get_plugin("ledger")
    return counting.ledger
