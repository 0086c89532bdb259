"""The shape of the code: imports point one way, only the engine uses torch, and risky calls stay in their modules."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import zoo_core

ROOT = Path(__file__).parents[2]
CORE = ROOT / "zoo_core"
PLUGINS = ("plugins", "docs/examples")

# A package imports only from packages before it in this list. docs/explanation/architecture.md shows the same order.
PACKAGES = [
    *(
        "errors",
        "terminal",
        "metrics",
        "events",
        "cards",
        "disk",
        "recipes",
        "hookspecs",
        "predictions",
        "multi_label",
        "results",
    ),
    *("progress", "store"),
    *("images", "registry", "runs", "data", "exported"),
    *("pull", "plugin_tools", "engine.compute", "engine.data", "engine.models", "engine.evaluation", "engine.explain"),
    *("engine.export", "engine.training", "engine.tuning", "engine.checks", "api", "testing", "cli"),
]
TORCH = {"torch", "torchvision", "timm", "torchinfo", "safetensors.torch"}

RAW_CALLS = {
    "urlopen",
    "urlretrieve",
    "httpx.Client",
    "httpx.get",
    "httpx.stream",
    "hf_hub_download",
    "get_hf_file_metadata",
    "subprocess.run",
    "subprocess.Popen",
    "os.replace",
    "os.rename",
    "os.system",
    "shutil.copy",
    "shutil.move",
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "torch.hub.load_state_dict_from_url",
    "pickle.load",
    "pickle.loads",
    "eval",
    "exec",
}
RAW_METHODS = {"write_text", "write_bytes", "extractall", "mktemp"}
RAW_HOMES = {"disk.sandbox", "store.http", "disk.atomic", "store.partial_download", "store.hub", "store.package_index"}
UNPICKLES = {
    "zoo_core.engine.models.unpickle": "torch.load(source, map_location='cpu', weights_only=True)"
}  # in a child


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(CORE.rglob("*.py")):
        if CORE / "plugin_tools" / "template" in path.parents:  # text to be filled in
            continue
        name = ".".join(("zoo_core", *path.relative_to(CORE).with_suffix("").parts)).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(tree: ast.AST, *, lazy: bool) -> Iterator[str]:
    """Yield imported modules; without `lazy`, only those that are imported when the module is."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef) and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node, lazy=lazy)


def core_module(imported: str) -> str | None:
    """Return the zoo_core module that an import refers to."""
    parts = imported.split(".")
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES), None)


def package_of(module: str) -> str:
    """Return the package of a module as the list names it: "engine.data", "cli", "errors"."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[0] == "engine" else 1])


def reached_from(module: str) -> set[str]:
    """Return the zoo_core modules that a module imports, at import time or later; packages contain no code."""
    reached = {core_module(imported) for imported in imports(MODULES[module], lazy=True)} - {None, "zoo_core"}
    return {name for name in reached if name is not None and name != module}


CODE = sorted(set(MODULES) - {"zoo_core", "zoo_core.__main__", "zoo_core.engine"})


@pytest.mark.parametrize("name", CODE)
def test_a_package_imports_only_from_packages_before_it(name: str) -> None:
    here = PACKAGES.index(package_of(name))
    later = {one for one in reached_from(name) if PACKAGES.index(package_of(one)) > here}
    assert not later, f"{name} imports {later}"


def test_modules_do_not_import_each_other_in_a_cycle() -> None:
    TopologicalSorter({name: reached_from(name) for name in CODE}).prepare()  # raises CycleError


def test_the_page_on_architecture_shows_the_same_packages() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    assert re.findall(r"^\| `([\w.]+)` \|", page, flags=re.M) == PACKAGES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_engine_and_api_import_torch(name: str) -> None:
    if name.startswith("zoo_core.engine"):
        return
    here = {imported for imported in imports(MODULES[name], lazy=False)}
    torch = {one for one in here if one.split(".")[0] in TORCH or one.startswith("safetensors.torch")}
    engine = {one for one in here if one.startswith("zoo_core.engine")}
    assert not torch | engine


@pytest.mark.parametrize("name", sorted(MODULES))
def test_risky_calls_stay_in_their_modules(name: str) -> None:
    if name.removeprefix("zoo_core.") in RAW_HOMES:
        return
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            method = called.rpartition(".")[2]
            allowed = ast.unparse(node) == UNPICKLES.get(name)
            assert called not in RAW_CALLS or allowed, f"{name}:{node.lineno} {called}"
            assert method not in RAW_METHODS, f"{name}:{node.lineno} {called}"
            if called == "open" or (method == "open" and not called.startswith(("Image.", "RunDir.", "new."))):
                modes = [ast.unparse(argument) for argument in node.args]
                assert not any(set(mode) & set("wax+") and mode.startswith("'") for mode in modes), f"{name}: {modes}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_importing_does_nothing(name: str) -> None:
    if name in ("zoo_core.__main__", "zoo_core.cli.app"):  # the first is the program; the second is put together here
        return
    for node in MODULES[name].body:
        assert not isinstance(node, (ast.For, ast.While, ast.With, ast.Try)), f"{name}:{node.lineno}"
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{name}:{node.lineno} is a call"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--json"),
        ("list", "timm/*"),
        ("show", "timm/resnet50.a1_in1k"),
        ("show", "horses-inception"),
        ("show", "fashion-mnist"),
        ("plugins",),
        ("env",),
        ("cache", "ls"),
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("run", "horses-cnn", "--dry-run"),
        ("run", "horses-inception", "--set", "model=timm/resnet18.a1_in1k", "--dry-run"),
    ],
    ids=" ".join,
)
def test_light_commands_do_not_import_torch(arguments: tuple[str, ...]) -> None:
    program = f"import sys; sys.argv = ['zoo', *{arguments!r}]\nfrom zoo_core.cli import main\n"
    program += "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
    program += "assert 'torch' not in sys.modules and 'timm' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_does_not_import_torch() -> None:
    program = "import sys, zoo_core; assert 'torch' not in sys.modules; zoo_core.list_models()"
    subprocess.run([sys.executable, "-c", program + "; assert 'torch' not in sys.modules"], check=True)


def test_every_public_name_can_be_imported() -> None:
    assert sorted(zoo_core.__all__) == zoo_core.__all__
    for name in zoo_core.__all__:
        assert getattr(zoo_core, name) is not None
    assert dir(zoo_core) == zoo_core.__all__


def test_the_public_names_are_frozen() -> None:
    """Plugins rely on these names: they may be added to, but not removed."""
    frozen = """
        ArrayImages Checkpoint DataError DatasetCard Edition EpochResult File ImageInput ImageSet Job ModelCard
        Plan PluginError Progress Recipe ReportedAccuracy Registry RunResult Source Store TrainState Trainer TrainerCard
        UsageError FrozenModel WeightsCard ZipImages ZooError create_model hookimpl list_models load_dataset
        load_registry predict run transforms
        EvaluatedExamples Event Examples LogisticHeadSettings LogisticHeadTrainer TrainingLoop class_logits
        RunSummary list_runs
        cross_entropy augmentation make_optimizer optimizer_tensors restore_optimizer scheduled_rate seed_torch
        unpickle_weights
        BackboneRanking BackboneScore compare Gain Trial Tuning tune
    """
    assert set(zoo_core.__all__) >= set(frozen.split())


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No zoo_core attribute frobnicate"):
        zoo_core.frobnicate  # noqa: B018


@pytest.mark.parametrize("plugin", sorted(p for at in PLUGINS for p in (ROOT / at).iterdir()), ids=lambda p: p.name)
def test_plugins_import_only_public_names_and_never_each_other(plugin: Path) -> None:
    package = plugin.name.replace("-", "_")
    for path in (plugin / package).glob("*.py"):
        for imported in imports(ast.parse(path.read_text()), lazy=True):
            assert not imported.startswith("zoo_core.") or imported.split(".")[1] in zoo_core.__all__, imported
            assert not imported.startswith("zoo_") or imported.split(".")[0] in ("zoo_core", package), imported


def test_the_top_level_contains_only_the_documented_modules() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    top = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    named = {"pyproject.toml", "zoo_core", "plugins", "registry.toml", "tests", "docs", "README.md"}
    assert {name for name in top if not name.startswith(".")} <= named | {"LICENSE", "CHANGELOG.md"}


@pytest.mark.parametrize("name", CODE)
def test_every_lazy_import_has_its_reason_on_the_line(name: str) -> None:
    """Outside the engine, lazy imports of the engine, the API and torch need none: torch is the reason."""
    path = CORE.parent.joinpath(*name.split("."))
    lines = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text().splitlines()
    functions = [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.FunctionDef)]
    for node in (inner for function in functions for inner in ast.walk(function)):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        fenced = str(module).startswith(("zoo_core.engine", "zoo_core.api", "torch")) and "engine" not in name
        assert fenced or any("#" in lines[at - 1] for at in (node.lineno, node.end_lineno or 0)), (
            f"{name}:{node.lineno}"
        )
