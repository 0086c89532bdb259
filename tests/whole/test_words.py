"""Pages, --help, comments, docstrings, and error messages provoked on purpose are plain technical English."""

from __future__ import annotations

import io
import json
import re
import shutil
import tokenize
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image

from tests.conftest import Zoo
from zoo_core.cli.app import COMMANDS, app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
        *(ROOT / ".github").glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "plugins").glob("*/README.md"),
        *(ROOT / "zoo_core").rglob("*.md"),
        *(ROOT / "zoo_core").rglob("*.html"),
    ]
)

# Phrases that sound translated, or that only this project would use, and what to write instead.
PHRASES = {
    r"(?<!there )\b(is|are|was|were) no\b(?! longer)": "is not a",  # "there is no" is idiomatic
    r"\bbesides?\b": "next to, alongside, with",
    r"\b(go|goes|going|went|gone) on\b": "resumes, continues",
    r"\b(be|was|were|been) had\b": "not available, could not be downloaded",
    r"\bheld against\b|\bholds? (it|them|every|each|the \w+) against\b": "compared with",
    r"\bonce more\b|\banew\b": "again",
    r"\bof (one's|its|their|our|his) own\b": "separate, or drop it",
    r"\b(is|are|was|were) passed over\b": "ignored, skipped",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bat hand\b": "available",
    r"\bunder way\b": "running",
    r"\bsource document\b|\bthe source's\b": "the notebook",
    r"\btrunks?\b": "backbone",
    r"\bplain path\b": "full precision",
    r"\b(lie|lies|lay)\b": "is, are",
    r"\bstands? (in|on|at|before|where|as|by)\b": "is, appears",
    r"\b(keep|keeps|kept|break|breaks|broke|breaking) (its|their|his) word\b": "satisfies, violates its contract",
    r"\bcarr(y|ies|ied|ying) out\b": "run, train",
    r"\b(is|what was|was) other\b": "differs",
    r"\bbe it\b": "whether",
    r"\btold\b(?! apart)|\btells (how|what|which|of|the|that)\b": "reports, says",
    r"\bsays? what is on\b": "classify",
    r"\bis a?n? ?number any more\b|\bno number\b": "is NaN or infinite",
    r"\bmay be (had|got)\b|\bwhence\b|\bthereof\b": "is available",
    r"\bfigures?\b": "metric, value, result",
    r"\bto its end\b|\bto the letter\b": "until it finishes; exactly",
    r"\bmake nothing but\b|\bnothing but tensors\b": "only creates tensors",
    r"\bsystem says no\b": "permission denied",
    r"\bgood for nothing\b|\bmeans harm\b": "malicious",
    r"\b(plugins?|that|which|it|they) brings?\b": "provides",
    r"\bleft out whole\b|\bis there already\b|\bon its way\b": "skipped, exists",
    r"\b(by|with|than) another \w+ than\b": "a different one from",
    r"\bany more\b": "no longer",
    r"\bthe zoo('s)?\b": "zoo",
    r"\bsixteen bits\b|\bthe nearest\b": "bfloat16; the closest",
    r"\bsmall letters?\b|\blower-case\b": "lowercase",
    r"(?-i:\bsha256\b)(?! *[=:])": "SHA-256",
    r"(?-i:\bthe hub\b)": "the Hub",
    r"(?<!-)\b((mis)?label|travel|cancel|model)l(ed|ing)\b": "American spelling",
    r"\b\w*(colour|behaviour|honour|neighbour)\w*|\bgreys?\b|\bcentre[ds]?\b|\blicences?\b": "American spelling",
    r"\b\w*(normal|recogn|optim|initial|memor|organ)is(e|ed|es|ing|ation)\b": "American spelling",
}
FORBIDDEN = {re.compile(pattern, re.I): instead for pattern, instead in PHRASES.items()}


def offences(text: str) -> list[str]:
    """Return each forbidden phrase with its surroundings and what to write instead."""
    words = re.sub(r"[\s│╭╮╰╯─]+", " ", text)  # Rich draws boxes around help
    return [
        f"…{words[max(0, match.start() - 30) : match.end() + 30]}…: write {instead!r}"
        for pattern, instead in FORBIDDEN.items()
        for match in pattern.finditer(words)
    ]


def prose_of(page: str) -> str:
    """Return a page without code and without quotations: the notebook's words are its author's."""
    without_blocks = re.sub(r"```.*?```|<style.*?</style>|</?[a-z][^>]*>", " ", page, flags=re.S)
    without_code = re.sub(r"`[^`]*`", " ", re.sub(r"^    .*$", " ", without_blocks, flags=re.M))
    return re.sub(r"“[^”]*”|\"[^\"]*\"", " ", without_code)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_avoid_the_phrases(path: Path) -> None:
    assert not offences(prose_of(path.read_text()))


CODE = sorted([*(ROOT / "zoo_core").rglob("*.py"), *(ROOT / "plugins").glob("*/*/*.py")])


def prose_in(source: str) -> str:
    """Return the comments and docstrings of a module, without code between backticks."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    after = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}
    texts = [
        token.string
        for index, token in enumerate(tokens)
        if token.type == tokenize.COMMENT
        or (
            (token.type == tokenize.STRING and token.string.startswith('"""'))
            and (index == 0 or tokens[index - 1].type in after)
        )
    ]
    return re.sub(r"`[^`]*`", " ", "\n".join(texts))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_and_docstrings_avoid_the_phrases(path: Path) -> None:
    if "{{" not in path.read_text():  # a template is not Python yet
        assert not offences(prose_in(path.read_text()))


def command_lines() -> list[tuple[str, ...]]:
    """Return every command and subcommand."""
    root: Any = typer.main.get_command(app)
    lines: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        subcommands = getattr(root.get_command(None, name), "commands", {})
        lines += [(name,), *((name, subcommand) for subcommand in subcommands)]
    return lines


@pytest.mark.parametrize("command", command_lines(), ids=" ".join)
def test_help_avoids_the_phrases(command: tuple[str, ...], zoo: Zoo) -> None:
    shown = zoo(*command, "--help")
    assert shown.code == 0
    assert not offences(shown.out)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that commands must refuse."""
    folder = tmp_path_factory.mktemp("broken")
    _write_images(folder)
    _write_runs(folder)
    _write_registries(folder)
    (folder / "weights.pth").write_bytes(b"not a checkpoint")
    (folder / "weights.safetensors").write_bytes(b"\xff" * 64)
    (folder / "files").mkdir()
    (folder / "files" / "other.bin").write_bytes(b"not what any card names")
    return folder


def _write_images(folder: Path) -> None:
    image = Image.new("RGB", (16, 16), "teal")
    image.save(folder / "fine.png")
    (folder / "text.png").write_text("this is text")
    (folder / "empty.png").write_bytes(b"")
    (folder / "half.png").write_bytes((folder / "fine.png").read_bytes()[:60])
    (folder / "no-images").mkdir()
    layouts = {
        "one-class": ["cat"],
        "empty-class": ["cat", "dog"],
        "missing-class": ["train/cat", "train/dog", "validation/cat"],
        "damaged": ["cat", "dog"],
        "few": ["train/cat", "train/dog", "validation/cat", "validation/dog"],
    }
    for name, classes in layouts.items():
        for index, kind in enumerate(classes):
            target = folder / name / kind
            target.mkdir(parents=True)
            if not (name == "empty-class" and kind == "dog"):
                for number in range(6):
                    Image.new("RGB", (16, 16), (40 * index, 20 * number, 90)).save(target / f"{number}.png")
    (folder / "damaged" / "cat" / "text.png").write_text("this is text")


def _write_runs(folder: Path) -> None:
    results = {"unfinished": {"schema": 1, "status": "failed", "reason": "stopped by a test", "metrics": {}}}
    for name in ("empty-run", "garbled-run", "unfinished"):
        (folder / name).mkdir()
    (folder / "garbled-run" / "plan.json").write_text("{")
    (folder / "garbled-run" / "result.json").write_text("[]")
    (folder / "unfinished" / "plan.json").write_text(json.dumps({"schema": 1}))
    (folder / "unfinished" / "result.json").write_text(json.dumps(results["unfinished"]))


def _write_registries(folder: Path) -> None:
    recipe = '[recipes.mine]\nsummary = "s"\nmodel = "fashion-cnn"\ndataset = "fashion-mnist"\nepochs = 1\n'
    texts = {
        "syntax": "schema = ",
        "version": "schema = 99\n",
        "unversioned": recipe + "batch_size = 8\n",
        "incomplete": f"schema = 1\n{recipe}",
        "misspelt": f"schema = 1\n{recipe}batch_size = 8\nschedul = 'cosine'\n",
        "values": f"schema = 1\n{recipe}batch_size = -1\noptimizer = {{ name = 'magic', lr = 1 }}\n",
        "absent": "schema = 1\n" + recipe.replace("fashion-cnn", "no-such") + "batch_size = 8\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)


# Each must fail; its message is checked.
MISTAKES = [
    "frobnicate",
    "run no-such-recipe",
    "run fashon-cnn",
    "run timm/resnet18.a1_in1k",
    "run fashion-mnist",
    "run fashion-cnn --epochs 0",
    "run fashion-cnn --lr -1",
    "run fashion-cnn --lr nan",
    "run fashion-cnn --seed -1",
    "run fashion-cnn --batch-size 0",
    "run fashion-cnn --precision float8",
    "run fashion-cnn --device gpu",
    "run fashion-cnn --edition no-such",
    "run fashion-cnn --weights no-such",
    "run fashion-cnn --set lr=0.1",
    "run fashion-cnn --set epochs",
    "run fashion-cnn --set settings.no-such=1",
    "run fashion-cnn --set optimizer.name=magic",
    "run fashion-cnn --set model=no-such",
    "run fashion-cnn --set dataset=no-such",
    "run fashion-cnn --set trainer=no-such",
    "run fashion-cnn --set schedule=linear",
    "run fashion-cnn --set model_options.width=3",
    'run fashion-cnn --set trainer=frozen-features --set augment=[{name="horizontal-flip"}]',
    "run fashion-cnn --data no-such-folder",
    "run fashion-cnn --data no-images",
    "run fashion-cnn --data one-class",
    "run fashion-cnn --data empty-class",
    "run fashion-cnn --data missing-class",
    "run fashion-cnn --data damaged",
    "run fashion-cnn --data fine.png",
    "run fashion-cnn --resume no-such-run",
    "run fashion-cnn --resume garbled-run",
    "run fashion-cnn --out fine.png",
    "run --resume empty-run",
    "--registry no-such.toml list",
    "--registry syntax.toml run mine",
    "--registry version.toml run mine",
    "--registry unversioned.toml run mine",
    "--registry incomplete.toml run mine",
    "--registry misspelt.toml run mine",
    "--registry values.toml run mine",
    "--registry absent.toml run mine",
    "predict no-such-model fine.png",
    "predict fashion-cnn no-such.png",
    "predict fashion-cnn text.png",
    "predict fashion-cnn empty.png",
    "predict fashion-cnn half.png",
    "predict fashion-cnn no-images",
    "predict fashion-cnn fine.png --weights no-such",
    "predict horses-cnn fine.png",
    "predict empty-run fine.png",
    "predict garbled-run fine.png",
    "predict unfinished fine.png",
    "eval no-such-model",
    "eval fashion-cnn --dataset no-such",
    "eval fashion-cnn --dataset horses-or-humans",
    "eval fashion-cnn --split holdout",
    "eval fashion-cnn --data few",
    "eval fashion-cnn --data no-such-folder",
    "explain no-such-model fine.png",
    "explain fashion-cnn text.png",
    "explain fashion-cnn no-images",
    "export empty-run out.safetensors",
    "export no-such-run out.safetensors",
    "import-weights weights.pth --model fashion-cnn --name mine",
    "import-weights weights.safetensors --model fashion-cnn --name mine",
    "import-weights no-such.pth --model fashion-cnn --name mine",
    "import-weights weights.pth --model no-such --name mine",
    "import-weights weights.pth --model fashion-cnn --name ../mine",
    "show no-such",
    "check no-such",
    "report empty-run",
    "reproduce no-such-run",
    "reproduce garbled-run",
    "runs empty-run",
    "pull no-such",
    "pull fashion-mnist.no-such",
    "pull fashion-mnist.full --from files",
    "pull fashion-mnist.full --from no-such-folder",
    "cache rm no-such",
    "plugins check no-such",
    "plugins disable no-such",
    "plugins new ../bad --kind model",
    "plugins new fine --kind magic",
]


@pytest.mark.parametrize("line", MISTAKES)
def test_errors_avoid_the_phrases(
    line: str, zoo: Zoo, broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(broken, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    ended = zoo(*line.split())
    assert ended.code not in (0, 1), "it should fail, and not as a bug in zoo"
    assert ended.err
    assert not offences(ended.err)
