"""Gives every malicious file to the input that it targets, and checks for side effects."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import zoo_core as zoo
from tests.reliability.corpus import Case, corpus
from tests.reliability.ledger import Ledger
from zoo_core import DataError, File, IntegrityError, Plan, Registry, Source, Store, UsageError, ZooError
from zoo_core.cards.fields import Reference, Uri
from zoo_core.engine.evaluation.predictor import Predictor
from zoo_core.engine.models.weights import load_tensors
from zoo_core.images.decode import decode_image
from zoo_core.recipes.component_choice import ComponentChoice, OptimizerChoice
from zoo_core.registry.registry_file import RegistryFile, read_registry
from zoo_core.runs.directory import RunDir
from zoo_core.runs.history import differences
from zoo_core.runs.report import write_report
from zoo_core.runs.summary import RunSummary
from zoo_core.store.archives import extract

CASES = corpus()
SECONDS = 10.0  # limit per file
KINDS = {"zip": IntegrityError, "tensors": IntegrityError, "image": DataError, "registry": UsageError, "run": ZooError}


@pytest.fixture(scope="session")
def finished(pond: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory as someone might send it."""
    out = tmp_path_factory.mktemp("finished")
    return zoo.run("pond", epochs=1, out=out, registry=pond, store=Store(out / "store")).directory


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that nothing may write; any program that an image library could start writes it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    canary = tmp_path / "canary"
    for name in ("gs", "gswin64c", "convert", "magick", "inkscape", "rsvg-convert", "xv", "ffmpeg", "djxl"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return canary


def through_zip(case: Case, content: bytes, work: Path) -> object:
    """Both uses of zips: a wheel that is extracted, and an archive that is repacked for the Store."""
    archive = work / "archive.zip"
    archive.write_bytes(content)
    source = Source(uri="https://x/x.zip", size=1, sha256="0" * 64, reader="zoo_core:rezip")
    store = Store(work / "target" / "store")
    assert store.import_file(File(sources=(source,), size=1000, sha256="0" * 64), [archive]) is None
    assert [path.name for path in store.root.rglob("?*.*")] == ["zoo-cache.json"]  # only its marker
    return extract(archive, work / "target" / "unpacked", max_bytes=1_000_000, max_entries=10_000)


def through_tensors(case: Case, content: bytes, work: Path) -> object:
    return load_tensors(content, "weights")


def through_image(case: Case, content: bytes, work: Path) -> object:
    return decode_image(content, "holiday.jpg")


def through_registry(case: Case, content: bytes, work: Path) -> object:
    path = work / "zoo.toml"
    path.write_bytes(content)
    return read_registry(path)


def merge(into: Any, change: Any) -> Any:
    if isinstance(into, dict) and isinstance(change, dict):
        return {**into, **{key: merge(into.get(key), value) for key, value in change.items()}}
    return change


@pytest.fixture
def through_run(finished: Path, pond: Registry) -> Callable[[Case, bytes, Path], object]:
    """Everything that zoo does with a run directory: list, compare, report, reproduce, predict."""

    def through(case: Case, content: bytes, work: Path) -> object:
        path = work / "target" / "run"
        shutil.copytree(finished, path)
        if case.merged:
            merged = merge(json.loads((path / case.file).read_text()), json.loads(content))
            content = json.dumps(merged).encode()
        (path / case.file).write_bytes(content)
        run = RunDir(path)
        readers = [RunSummary.of, lambda run: list(differences(run, RunDir(finished)))]
        if "script" in case.name or (not case.merged and case.file != "weights.safetensors"):
            readers.append(write_report)
        for read in readers:
            with suppress(ZooError):
                read(run)
        if (path / "report.html").is_file():
            assert "<script>alert" not in (path / "report.html").read_text()
        if case.file == "plan.json":
            with suppress(ZooError):
                assert_installed(pond.plan_again(run.plan()), pond)
        return Predictor.from_run(path, pond, Store(work / "target" / "store"))

    return through


def assert_installed(plan: Plan, registry: Registry) -> None:
    """Everything that a plan names is installed, whoever wrote the plan."""
    card = registry.model(plan.recipe.model)
    assert plan.model == card
    assert plan.trainer == registry.trainers[plan.recipe.trainer]
    assert plan.dataset == registry.dataset(plan.recipe.dataset)
    assert all(weights in card.weights for weights in plan.weights)


def snapshot(root: Path) -> dict[str, int]:
    """Return the modification times of all files below a folder, except in the target folder."""
    target = root / "target"
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*") if target not in (path, *path.parents)}


@pytest.fixture
def outcome(tmp_path: Path, canary: Path, through_run: Any) -> Callable[[Case], list[str]]:
    """Return everything that went wrong with a case; ideally nothing."""
    doors = {"zip": through_zip, "tensors": through_tensors, "image": through_image, "registry": through_registry}

    def carry(case: Case) -> list[str]:
        (tmp_path / "target").mkdir()
        work, wrong, refusal = tmp_path, [], None
        content = case.make(canary)
        before = snapshot(tmp_path)
        began = time.perf_counter()
        try:
            {**doors, "run": through_run}[case.door](case, content, work)
        except KINDS[case.door] as error:
            refusal = error
        except Exception as error:
            wrong.append(f"raised {type(error).__name__}: {error}"[:300])
        seconds = time.perf_counter() - began
        if case.refused is not None and case.refused != (refusal is not None) and not wrong:
            wrong.append("was accepted" if case.refused else f"was refused: {refusal}")
        if seconds > SECONDS:
            wrong.append(f"took {seconds:.1f} s")
        if any(sign in str(refusal) for sign in ("0x7f", "Traceback", "weights_only", "\x1b")):
            wrong.append(f"revealed internals: {refusal}"[:300])
        if canary.exists():
            wrong.append("THE CANARY FIRED")
        after = snapshot(tmp_path)
        changed = [Path(path) for path in after if after[path] != before.get(path)]
        wrong += [f"wrote {path}" for path in changed if path.name not in ("archive.zip", "zoo.toml")]
        return wrong

    return carry


TRIED: list[tuple[Case, list[str]]] = []


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:(?!.*zoo)")  # decoders may warn
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_malicious_file_does_no_harm(case: Case, outcome: Callable[[Case], list[str]], ledger: Ledger) -> None:
    wrong = outcome(case)
    TRIED.append((case, wrong))
    ledger.record(
        "malicious files",
        tried=len(TRIED),
        canaries_fired=sum("THE CANARY FIRED" in faults for _, faults in TRIED),
        wrong=sum(bool(faults) for _, faults in TRIED),
    )
    assert not wrong


def test_the_corpus_is_as_large_as_documented() -> None:
    assert len(CASES) >= 120
    assert len({case.id for case in CASES}) == len(CASES)


def references(annotation: Any) -> set[Any]:
    """Return all types and constraints of a pydantic model's fields."""
    seen, waiting = set(), [annotation]
    while waiting:
        current = waiting.pop()
        parts = [*getattr(current, "__args__", ()), *getattr(current, "__metadata__", ())]
        parts += [field.annotation for field in getattr(current, "model_fields", {}).values()]
        parts += [part for field in getattr(current, "model_fields", {}).values() for part in field.metadata]
        for part in parts:
            if repr(part) not in {repr(known) for known in seen}:
                seen.add(part) if part.__hash__ else None
                waiting.append(part)
    return seen


def test_no_key_of_a_registry_file_names_code_a_path_or_a_url() -> None:
    """Code is named by a Reference, a location by a Uri or Path; a registry file has neither, nor unknown keys."""
    patterns = {str(getattr(part, "pattern", "")) for part in references(RegistryFile)}
    naming: list[Any] = [Reference, Uri]
    assert {part.pattern for kind in naming for part in kind.__metadata__}.isdisjoint(patterns)
    assert Path not in references(RegistryFile)
    for kind in [RegistryFile, *references(RegistryFile)]:
        if getattr(kind, "__origin__", kind) in (ComponentChoice, OptimizerChoice):
            continue  # keys of a plugin's component: checked against the component's own settings when it is planned
        if hasattr(kind, "model_config"):
            assert kind.model_config.get("extra") == "forbid", kind
