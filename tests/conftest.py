"""Shared fixtures: a separate cache, the command line as a function, and a registry with the plugin zoo-pond."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zoo_pond

from zoo_core.cli import ENDING, main
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.store.store import Store

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Said:
    """What a command printed, and the code it ended with."""

    code: int
    out: str
    err: str


Zoo = Callable[..., Said]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _a_place_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    """No test reads or writes the user's cache, configuration or current folder."""
    for name in ("ZOO_OFFLINE", "ZOO_REGISTRY", "ZOO_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZOO_CACHE", str(cache))
    monkeypatch.setenv("ZOO_CONFIG", str(tmp_path / "configuration"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path for more plugins."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(scope="session")
def pond() -> Registry:
    """A registry of the core and one third-party plugin; it has the packaged recipes, but not their models."""
    manager = new_manager()
    manager.register(zoo_pond, name="zoo-pond 1.2.3")
    return load_registry(manager=manager)


@pytest.fixture(scope="session")
def installed() -> Registry:
    """What is really installed."""
    return load_registry()


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Zoo:
    """Run the command line in this process."""

    def run(*arguments: str | Path) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        code, handlers = 0, {number: signal.getsignal(number) for number in ENDING}
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for number, handler in handlers.items():  # forked children of later tests would inherit the command's
                signal.signal(number, handler)
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def with_pond(monkeypatch: pytest.MonkeyPatch, pond: Registry) -> Registry:
    """Let the command line find the pond, as if zoo-pond were installed."""
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): pond)
    return pond
