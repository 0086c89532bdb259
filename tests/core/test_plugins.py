"""A plugin that fails in any way is skipped and reported, and does not affect anything else."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import zoo_pond
from packaging.requirements import Requirement
from pydantic import TypeAdapter, ValidationError

from tests.conftest import Zoo
from tests.fakes.installation import install
from zoo_core import (
    Catalogue,
    FrozenModel,
    ModelCard,
    PluginError,
    Registry,
    UnknownName,
    hookimpl,
    hookspecs,
    load_registry,
)
from zoo_core.registry import discovery, kinds
from zoo_core.registry.contents import PluginContents
from zoo_core.registry.discovery import find_plugins, new_manager
from zoo_core.registry.distributions import Distribution, installed, satisfies


def plugin(**hooks: Callable[[], Any]) -> ModuleType:
    module = ModuleType("someones_plugin")
    for name, function in hooks.items():
        function.__name__ = name
        setattr(module, name, hookimpl(function))
    return module


def registry_with(module: ModuleType) -> Registry:
    manager = new_manager()
    manager.register(zoo_pond, name="zoo-pond 1.2.3")
    manager.register(module, name="zoo-someone 0.1")
    return load_registry(manager=manager)


def distribution(name: str, *modules: str) -> Distribution:
    return Distribution(name, points=tuple(EntryPoint(name, module, "zoo_core") for module in modules))


def raising(error: BaseException) -> Callable[[], Any]:
    def hook() -> Any:
        raise error

    return hook


def dying_halfway() -> Any:
    yield zoo_pond.zoo_models()[0].model_copy(update={"name": "half"})
    raise RuntimeError("half way")


@pytest.mark.parametrize(
    ("hooks", "cause"),
    [
        ({"zoo_models": raising(ValueError("no models today"))}, "its zoo_models hook raised ValueError: no models"),
        ({"zoo_models": raising(SystemExit(3))}, "raised SystemExit: 3"),
        ({"zoo_datasets": raising(MemoryError())}, "its zoo_datasets hook raised MemoryError"),
        ({"zoo_models": lambda: None}, "its zoo_models hook returned None"),
        ({"zoo_models": lambda: 7}, "raised TypeError"),
        ({"zoo_models": lambda: ["junk"]}, "returned a str, not a ModelCard"),
        ({"zoo_models": lambda: {"a": 1}}, "returned a str, not a ModelCard"),
        ({"zoo_trainers": lambda: zoo_pond.zoo_models()}, "returned a ModelCard, not a TrainerCard"),
        ({"zoo_models": dying_halfway}, "raised RuntimeError: half way"),
        ({"zoo_modls": lambda: []}, "there is no hook named 'zoo_modls'; did you mean 'zoo_models'?"),
        (
            {"zoo_models": lambda: [zoo_pond.zoo_models()[0].model_copy(update={"name": "twin"})] * 2},
            "it provides the model 'twin' twice: neither is used",
        ),
    ],
)
def test_a_broken_plugin_is_skipped_and_reported(hooks: dict[str, Any], cause: str) -> None:
    loaded = registry_with(plugin(**hooks))
    (problem,) = loaded.problems
    assert problem.subject == "zoo-someone 0.1"
    assert cause in problem.cause
    assert problem.cure == "zoo plugins disable zoo-someone"
    assert sorted(loaded.models) == ["alexnet", "pond-net"]


def renamed(name: str) -> ModelCard:
    return zoo_pond.zoo_models()[0].model_copy(update={"name": name})


def test_a_name_of_this_project_cannot_be_taken() -> None:
    """The stranger's distribution sorts first, and loses only that name."""
    manager = new_manager()
    mine = renamed("fashion-cnn").model_copy(update={"summary": "the shipped one"})
    manager.register(plugin(zoo_models=lambda: [renamed("fashion-cnn"), renamed("fine")]), name="zoo-alexone 1.0")
    manager.register(plugin(zoo_models=lambda: [mine]), name="zoo-fashion-cnn 0.1.0")
    loaded = load_registry(manager=manager)
    assert loaded.model("fashion-cnn").summary == "the shipped one"
    assert "fine" in loaded.models
    (problem,) = loaded.problems
    assert problem.subject == "zoo-alexone 1.0"
    assert problem.cause == "it provides the model 'fashion-cnn', but that name belongs to zoo-fashion-cnn 0.1.0"


def test_if_two_plugins_claim_a_name_neither_gets_it() -> None:
    loaded = registry_with(plugin(zoo_models=lambda: [renamed("fine"), *zoo_pond.zoo_models()[:1]]))
    assert sorted(loaded.models) == ["alexnet", "fine"]
    assert [(problem.subject, problem.cause) for problem in loaded.problems] == [
        ("zoo-pond 1.2.3", "it provides the model 'pond-net', and so does zoo-someone 0.1: neither is used"),
        ("zoo-someone 0.1", "it provides the model 'pond-net', and so does zoo-pond 1.2.3: neither is used"),
    ]


def test_a_plugins_own_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from zoo_core import TrainerCard, hookimpl\n\n\n@hookimpl\ndef zoo_trainers():\n"
    source += "    return [TrainerCard(name='x', sumary='s', trainer='m:f', settngs='m:f')]\n"
    (tmp_path / "zoo_misspelt.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    manager, _ = find_plugins([distribution("misspelt", "zoo_misspelt")])
    (problem,) = load_registry(manager=manager).problems
    assert "sumary: unknown key; did you mean 'summary'?" in problem.cause
    assert "settngs: unknown key; did you mean 'settings'?" in problem.cause
    assert "summary: Field required" in problem.cause
    assert f"(for its author: {tmp_path / 'zoo_misspelt.py'}, line 6)" in problem.cause


def test_process_state_is_restored_after_a_call(tmp_path: Path) -> None:
    before = (Path.cwd(), sys.getrecursionlimit(), signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr)

    def unsettling() -> list[ModelCard]:
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        sys.setrecursionlimit(400)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stdout = sys.stderr = io.StringIO()
        return []

    assert registry_with(plugin(zoo_models=unsettling)).problems == ()
    after = (Path.cwd(), sys.getrecursionlimit(), signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr)
    assert after == before


def test_a_recipe_name_of_the_packaged_registry_is_taken() -> None:
    own = zoo_pond.zoo_recipes()[0].model_copy(update={"name": "horses-inception"})
    loaded = registry_with(plugin(zoo_recipes=lambda: [own]))
    assert loaded.recipes["horses-inception"].model == "horses-inception"
    assert "registry.toml" in loaded.problems[0].cause


def test_ctrl_c_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        registry_with(plugin(zoo_models=raising(KeyboardInterrupt())))


def test_what_a_plugin_prints_does_not_reach_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    def chatty() -> list[ModelCard]:
        print("hello from a plugin")
        return []

    registry_with(plugin(zoo_models=chatty))
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "hello from a plugin\n")


MODULES = {
    "exits": "raise SystemExit(1)",
    "needs": "import a_module_that_is_not_there",
    "typo": "def broken(:",
    "raises": "raise BaseException('of the worst kind')",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_plugin_that_cannot_be_imported_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"zoo_{name}.py").write_text(MODULES[name])
    monkeypatch.syspath_prepend(tmp_path)
    manager, (problem,) = find_plugins([distribution(name, f"zoo_{name}"), distribution("pond", "zoo_pond")])
    assert problem.subject == name
    assert f"importing 'zoo_{name}' raised" in problem.cause
    assert "pond-net" in load_registry(manager=manager).models
    sys.modules.pop(f"zoo_{name}", None)


def test_two_entry_points_of_one_name_are_both_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pluggy's own loader would silently ignore the second."""
    (tmp_path / "zoo_second.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    manager, problems = find_plugins([distribution("pond", "zoo_pond", "zoo_second")])
    assert not problems
    assert {name for name, _ in manager.list_name_plugin()} == {"zoo-core", "pond", "pond [pond]"}


def test_the_same_module_twice_is_a_problem() -> None:
    _, (problem,) = find_plugins([distribution("a", "zoo_pond"), distribution("b", "zoo_pond")])
    assert problem.subject == "b"


def catalogue(**changes: Any) -> Catalogue:
    names = frozenset({"lake/pike", "lake/eel", "lake/ghost"})
    return Catalogue(**{"name": "lake", "summary": "s", "models": names, "card": f"{__name__}:lake_card"} | changes)


def lake_card(name: str) -> ModelCard:
    """The ghost's card has another name."""
    other = {"lake/ghost": "lake/pike"}.get(name, name)
    return zoo_pond.zoo_models()[0].model_copy(update={"name": other})


@pytest.fixture
def lake() -> Registry:
    return registry_with(plugin(zoo_catalogues=lambda: [catalogue()]))


def test_a_catalogues_models_are_found_by_name(lake: Registry) -> None:
    assert lake.problems == ()
    assert lake.model("lake/eel").name == "lake/eel"
    assert sorted(lake.models) == ["alexnet", "lake/eel", "lake/ghost", "lake/pike", "pond-net"]
    assert len(lake.models) == 5
    assert "lake/carp" not in lake.models
    with pytest.raises(UnknownName, match="did you mean 'lake/pike'"):
        lake.model("lake/pikes")


def test_a_catalogue_that_returns_another_card_is_reported(lake: Registry) -> None:
    with pytest.raises(PluginError, match=r"catalogue 'lake' has no card for lake/ghost\n.*returned 'lake/pike'"):
        lake.model("lake/ghost")


def test_a_model_and_a_catalogue_that_claim_one_name_both_lose_it() -> None:
    manager = new_manager()
    manager.register(plugin(zoo_catalogues=lambda: [catalogue()]), name="zoo-lake 1")
    manager.register(plugin(zoo_models=lambda: [renamed("lake/pike"), renamed("carp")]), name="zoo-other 1")
    loaded = load_registry(manager=manager)
    assert sorted(loaded.models) == ["carp", "lake/eel", "lake/ghost"]
    assert [problem.subject for problem in loaded.problems] == ["zoo-lake 1", "zoo-other 1"]


def test_two_catalogues_with_one_name_are_one_problem_each() -> None:
    manager = new_manager()
    for name in ("zoo-lake 1", "zoo-other 1"):
        manager.register(plugin(zoo_catalogues=lambda: [catalogue()]), name=name)
    loaded = load_registry(manager=manager)
    assert list(loaded.models) == []
    assert [problem.subject for problem in loaded.problems] == ["zoo-lake 1", "zoo-other 1"]


def test_a_catalogue_names_its_models_below_itself() -> None:
    with pytest.raises(ValidationError, match="'sea/eel' does not start with lake/"):
        catalogue(models=frozenset({"sea/eel"}))


def test_a_plugin_with_a_wrong_hook_signature_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = "@hookimpl\ndef zoo_models():\n    return []\n"
    wrong = "@hookimpl\ndef zoo_recipes(config):\n    return []\n"
    (tmp_path / "zoo_halfway.py").write_text(f"from zoo_core import hookimpl\n\n\n{fine}\n\n{wrong}")
    monkeypatch.syspath_prepend(tmp_path)
    manager, (problem,) = find_plugins([distribution("halfway", "zoo_halfway")])
    assert "Argument(s) {'config'} are declared in the hookimpl" in problem.cause
    assert not manager.has_plugin("halfway")
    assert [offer.plugin for offer in load_registry(manager=manager).plugins] == ["zoo-core"]


@pytest.mark.parametrize("name", ["zoo-newer", "zoo-strange"])
def test_a_plugin_for_another_core_is_named_and_not_imported(name: str) -> None:
    point = EntryPoint("x", "a_module_that_would_fail", "zoo_core")
    requires = {"zoo-newer": "zoo-core>=9.1", "zoo-strange": "zoo-core ~= !"}[name]
    _, (problem,) = find_plugins([Distribution(name, "1.0", (point,), (requires,))])
    assert problem.subject == f"{name} 1.0"
    assert problem.cause == f"it needs {requires}, and zoo-core {version('zoo-core')} is installed"
    assert problem.cure == "pip install --upgrade zoo-core"


REQUIREMENTS = [
    ">=0.1,<1", "<1", ">0.1", "<=0.1", ">=0.1.0", "<0.1.0", ">=0", "", "(>=0.1,<1)", "[test]>=0.2", "==0.1.*", "~=0.1",
    "!=0.1.0", ">=0.1.0rc1", "<1.0.dev0", " >= 0.1 , < 0.2 ", "; python_version < '3'", ">=9; extra == 'x'", "===0.1.0",
]  # fmt: skip


@pytest.mark.parametrize("core", ["0.1.0", "0.1", "1.0.0", "0.1.10", "0.2.dev3", "1.0rc1", "0.1.0+local"])
@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_a_requirement_is_read_as_package_clients_read_it(core: str, requirement: str) -> None:
    parsed = Requirement(f"zoo-core{requirement}")
    asked = parsed.marker is None or parsed.marker.evaluate({"extra": ""})
    expected = not asked or parsed.specifier.contains(core, prereleases=True)
    assert satisfies(core, f"zoo-core{requirement}") == expected


def test_plain_requirements_are_read_without_packaging() -> None:
    program = "import sys\nfrom zoo_core.registry.distributions import installed\n"
    program += "assert all(one.incompatibility is None and one.requires for one in installed()) and installed()\n"
    program += "assert 'packaging.specifiers' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_metadata_that_cannot_be_read_is_a_fault_and_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "zoo-garbled", "", files={"entry_points.txt": "[zoo_core]\nno equals sign\n"})
    install(tmp_path, "someone-elses", "", files={"entry_points.txt": "[other]\nno equals sign\n"})
    install(tmp_path, "zoo-nameless", "", files={"METADATA": ""})
    monkeypatch.syspath_prepend(tmp_path)
    found = {one.name: one for one in installed()}
    assert "zoo-fashion-cnn" in found
    assert "someone-elses" not in found
    assert found["zoo-garbled"].fault.startswith("its entry_points.txt cannot be read")
    assert found["zoo-nameless"].fault == "its metadata has no name"


def test_only_requirements_on_the_core_itself_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "zoo-near", "", requires="zoo-core-extras>=9\nRequires-Dist: Zoo_Core (>=0.1)")
    monkeypatch.syspath_prepend(tmp_path)
    (near,) = (one for one in installed() if one.name == "zoo-near")
    assert near.requires == ("Zoo_Core (>=0.1)",)
    assert near.incompatibility is None


def test_a_plugin_may_wrap_its_own_hook() -> None:
    module = plugin(zoo_models=lambda: zoo_pond.zoo_models()[:1])

    def renamed() -> Any:
        results = yield
        return [[card.model_copy(update={"name": f"wrapped-{card.name}"}) for cards in results for card in cards]]

    module.renamed = hookimpl(wrapper=True, specname="zoo_models")(renamed)  # type: ignore[attr-defined]
    loaded = registry_with(module)
    assert loaded.problems == ()
    assert "wrapped-pond-net" in loaded.models


def test_a_wrapper_does_not_reach_the_hooks_of_other_plugins() -> None:
    module = ModuleType("someones_plugin")

    def emptied() -> Any:
        yield
        return []

    module.emptied = hookimpl(wrapper=True, specname="zoo_models")(emptied)  # type: ignore[attr-defined]
    assert "pond-net" in registry_with(module).models


def test_a_hookimpl_with_fewer_arguments_than_its_hookspec_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version can add an argument without breaking the plugins that do not take it."""

    def zoo_models(version: str) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(hookspecs, "zoo_models", hookspecs.hookspec(zoo_models))
    monkeypatch.setattr(discovery, "HOOK_ARGUMENTS", {"version": "2"})
    newer = zoo_pond.zoo_models()[0].model_copy(update={"name": "newer"})

    def takes_it(version: str) -> list[ModelCard]:
        return [newer.model_copy(update={"name": f"newer-{version}"})]

    loaded = registry_with(plugin(zoo_models=takes_it))
    assert loaded.problems == ()
    assert {"pond-net", "newer-2"} <= set(loaded.models)


class Metric(FrozenModel):
    """A value of a sixth kind."""

    name: str
    summary: str = "s"


def test_a_sixth_kind_is_one_row_and_its_hookspec(monkeypatch: pytest.MonkeyPatch, zoo: Zoo) -> None:
    def zoo_metrics() -> Any:
        raise NotImplementedError

    monkeypatch.setattr(hookspecs, "zoo_metrics", hookspecs.hookspec(zoo_metrics), raising=False)
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, kinds.Kind("metric", Metric, "zoo_metrics")))
    loaded = registry_with(plugin(zoo_metrics=lambda: [Metric(name="recall")]))
    assert loaded.problems == ()
    assert list(loaded.tables["metrics"]) == ["recall"]
    adapter = TypeAdapter(PluginContents)
    assert adapter.validate_json(adapter.dump_json(loaded.plugins[-1])) == loaded.plugins[-1]
    monkeypatch.setattr("zoo_core.cli.options.load_registry", lambda files=(): loaded)
    assert "metric" in zoo("list", "recall").out
    assert json.loads(zoo("list", "recall", "--json").out)["metrics"] == [{"name": "recall", "summary": "s"}]
    assert json.loads(zoo("show", "recall", "--json").out)["metric"] == {"name": "recall", "summary": "s"}
    assert "metrics: recall" in zoo("plugins").out
