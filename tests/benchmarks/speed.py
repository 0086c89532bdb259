"""Both sides of each comparison, alternately, in one run on one machine; what docs/explanation/performance.md shows.

    zoo pull horses-or-humans.original && zoo pull fashion-mnist.full     # or with --from FOLDER
    python tests/benchmarks/speed.py                # everything; about an hour on two cores
    python tests/benchmarks/speed.py list predict   # or some of it
    python docs/generate.py                         # writes the page

The results of each part go to docs/explanation/performance.json; a part that is not measured keeps its old results.
Nothing here is a test: an absolute time means little on a shared machine, and a ratio only with its spread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from zoo_core import Progress, Recipe, Store, create_model, load, load_registry
from zoo_core.engine.compute.memory import retain_freed_memory
from zoo_core.engine.compute.precision import Precision
from zoo_core.engine.data.preprocessing import normalize_transform
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.images.batching import inference_batch_size, prefetch_map
from zoo_core.images.sources import image_source, list_image_files

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "explanation" / "performance.json"
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
THOUSAND = """
from zoo_core import ImageInput, ModelCard, hookimpl

@hookimpl
def zoo_models():
    seen = ImageInput(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    return [
        ModelCard(
            name=f"model-{n}", summary="One of a thousand", license="MIT", source="none", builder="zoo_thousand:none",
            input=seen, num_classes=1000, parameters=1_000_000 + n,
        )
        for n in range(1000)
    ]
"""


def timed(*command: str, **variables: str) -> dict[str, float]:
    """Run a command, and return its seconds and the peak memory of it and its children, in bytes.

    A process's peak begins with that of the one which started it; so a small one starts it here.
    """
    started = time.perf_counter()
    launched = [sys.executable, "-c", LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return {"seconds": time.perf_counter() - started, "peak_bytes": int(done.stdout) * 1024}


def notebook(book: str, epochs: int, *options: str) -> list[dict[str, Any]]:
    """Run one of the notebook's loops, and return what it printed."""
    command = [sys.executable, str(HERE / "as_printed.py"), book, "--epochs", str(epochs), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def zoo_run(recipe: str, out: Path, *options: str) -> dict[str, Any]:
    """Run a recipe in a separate process; return its seconds and peak, its metrics, and the last epoch's seconds."""
    measured: dict[str, Any] = timed("zoo", "run", recipe, "--out", str(out), *options)
    latest = out / recipe / "latest"
    measured["metrics"] = json.loads((latest / "result.json").read_text())["metrics"]
    measured["epoch"] = json.loads((latest / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    return measured


def ratio(what: str, theirs: list[float], ours: list[float], accuracy: str = "") -> dict[str, Any]:
    """Compare two lists of seconds; the ratio is that of the medians."""
    ratios = [a / b for a in theirs for b in ours]
    found = {
        "work": what,
        "theirs": [round(s, 2) for s in theirs],
        "ours": [round(s, 2) for s in ours],
        "ratio": round(median(theirs) / median(ours), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
        "accuracy": accuracy,
    }
    print(json.dumps(found), flush=True)
    return found


def inception(out: Path) -> Iterator[dict[str, Any]]:
    """The notebook's three epochs (one is measured, and counted three times) against the whole process of ours."""

    def anew() -> dict[str, Any]:
        shutil.rmtree(Store.default().root / "features", ignore_errors=True)
        return zoo_run("horses-inception", out)

    cold, warm = [anew()], [zoo_run("horses-inception", out) for _ in range(3)]
    epoch, whole = notebook("horses-inception", 1)
    three = whole["whole"] + 2 * epoch["seconds"]
    cold += [anew() for _ in range(2)]
    warm += [zoo_run("horses-inception", out) for _ in range(2)]
    said = f"{_accuracy(cold[-1])}; the notebook, after one epoch: {epoch['validation']:.2%}"
    yield ratio("zoo run horses-inception, features not kept", [three], [c["seconds"] for c in cold], said)
    yield ratio("zoo run horses-inception, features kept", [three], [w["seconds"] for w in warm], said)


def memory(out: Path) -> Iterator[dict[str, Any]]:
    """The peak memory of horses-inception, against the notebook's over its first 128 images."""
    theirs = notebook("horses-inception", 1, "--limit", "128")[-1]["peak_bytes"]
    shutil.rmtree(Store.default().root / "features", ignore_errors=True)
    ours = zoo_run("horses-inception", out)["peak_bytes"]
    work = "peak memory of horses-inception against the notebook's"
    yield {"work": work, "theirs": [theirs], "ours": [ours], "ratio": round(ours / theirs, 2), "unit": "bytes"}


def horses(out: Path) -> Iterator[dict[str, Any]]:
    """One epoch with its evaluations; ours also measures the clean validation accuracy."""
    theirs, ours = [], []
    for seed in range(5):
        theirs.append(notebook("horses-cnn", 1)[0])
        ours.append(zoo_run("horses-cnn", out, "--epochs", "1", "--seed", str(seed)))
    said = f"{ours[-1]['metrics']['train_accuracy']:.2%} in training; the notebook: {theirs[-1]['train']:.2%}"
    seconds, epochs = [one["seconds"] for one in theirs], [one["epoch"] for one in ours]
    yield ratio("zoo run horses-cnn, an epoch with its evaluations", seconds, epochs, said)


def fashion(out: Path) -> Iterator[dict[str, Any]]:
    """One epoch over 60,000 images, and an evaluation of them; the notebook also evaluates the 10,000."""
    theirs, ours = [], []
    for seed in range(3):
        theirs.append(notebook("fashion-cnn", 1)[0])
        ours.append(zoo_run("fashion-cnn", out, "--edition", "full", "--epochs", "1", "--seed", str(seed)))
    said = f"{ours[-1]['metrics']['test_accuracy']:.2%}; the notebook: {theirs[-1]['validation']:.2%}"
    epochs = [one["epoch"] for one in ours]
    yield ratio("zoo run fashion-cnn, an epoch with its evaluation", [one["seconds"] for one in theirs], epochs, said)


def precision(out: Path) -> Iterator[dict[str, Any]]:
    """Five seeds in bfloat16 and five in full precision: is any accuracy lost?"""
    for recipe, metric, epochs in (("horses-cnn", "train_accuracy", "2"), ("fashion-cnn", "test_accuracy", "2")):
        found = {
            kind: [
                zoo_run(recipe, out, "--epochs", epochs, "--seed", str(seed), "--precision", kind)["metrics"][metric]
                for seed in range(5)
            ]
            for kind in ("bfloat16", "float32")
        }
        print(json.dumps({recipe: found}), flush=True)
        yield {"work": f"{recipe}, {epochs} epochs: {metric.replace('_', ' ')}", "seeds": found}


def predict(out: Path) -> Iterator[dict[str, Any]]:
    """1,000 files through Inception v3: ours, a tuned DataLoader loop, and the two halves of the work by themselves."""
    files = _thousand_images(out)
    predictor = load("horses-inception", registry=load_registry(), store=Store.default())
    images = [image_source(file) for file in files]
    list(predictor.predict_each(images[:64]))
    workers = _best_workers(files)
    ours, theirs, halves = [], [], []
    for _ in range(3):
        ours.append(_seconds(lambda: list(predictor.predict_each(images))))
        theirs.append(_seconds(lambda: _loop(files, workers)))
        with retain_freed_memory():
            halves.append(_decoding(predictor, images) + _network(predictor, images[:256]) * len(images) / 256)
    yield ratio(f"predict 1,000 files, against a DataLoader loop with {workers} workers", theirs, ours)
    overlap = ratio("predict 1,000 files, against decoding and network perfectly overlapped", halves, ours)
    yield {**overlap, "note": "both halves fill both cores, so perfect overlap is the sum of their times"}


def listing(out: Path) -> Iterator[dict[str, Any]]:
    """`zoo list` against the bare import of torch, and with 1,000 additional cards."""
    (out / "zoo_thousand.py").write_text(THOUSAND)
    info = out / "zoo_thousand-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-thousand\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[zoo_core]\nthousand = zoo_thousand\n")
    imports, lists, thousands = [], [], []
    for _ in range(9):
        imports.append(timed(sys.executable, "-c", "import torch")["seconds"])
        lists.append(timed("zoo", "list")["seconds"])
        thousands.append(timed("zoo", "list", PYTHONPATH=str(out))["seconds"])
    yield ratio("zoo list, against python -c 'import torch'", imports, lists)
    yield ratio("zoo list with 1,000 cards more, against without", thousands, lists)


def folder(out: Path) -> Iterator[dict[str, Any]]:
    """Training on folders of 10,000 and 100,000 images that are streamed: does memory grow?"""
    peaks = {}
    for count in (10_000, 100_000):
        root = out / f"folder-{count}"
        _write_images(root, count)
        options = ("--data", str(root), "--epochs", "1", "--batch-size", "256", "--set", "settings.hold_bytes=0")
        peaks[count] = zoo_run("fashion-cnn", out / "runs", *options)
        print(json.dumps({"images": count, **peaks[count]}), flush=True)
        shutil.rmtree(root)
    few, many = peaks.values()
    yield {
        "work": "peak memory with a folder of 100,000 images, against 10,000",
        "theirs": [few["peak_bytes"]],
        "ours": [many["peak_bytes"]],
        "ratio": round(many["peak_bytes"] / few["peak_bytes"], 2),
        "unit": "bytes",
        "note": f"{few['seconds']:.0f} s and {many['seconds']:.0f} s for one epoch, audit and evaluation included",
    }


def world(out: Path) -> Iterator[dict[str, Any]]:
    """An epoch by two processes of one thread each, against one process of two threads, on the same two cores."""
    one, two = [], []
    for _ in range(2):
        one.append(zoo_run("horses-cnn", out, "--epochs", "1")["epoch"])
        timed(
            "torchrun",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "zoo_core",
            "run",
            "horses-cnn",
            "--epochs",
            "1",
            "--out",
            str(out),
        )
        two.append(json.loads((out / "horses-cnn" / "latest" / "metrics.jsonl").read_text())["seconds"])
    yield ratio("horses-cnn, an epoch by one process, against two ranks on the same two cores", two, one)


def growth(out: Path) -> Iterator[dict[str, Any]]:
    """How a step's time grows with classes and with parameters, at the recipes' batch sizes."""
    for classes in (10, 100, 1_000, 10_000):
        head = nn.Linear(2048, classes)
        yield {"by": "classes", "classes": classes, "batch": 64, **_step(head, torch.randn(64, 2048), classes)}
    for width in (64, 256, 1024, 4096):
        network = nn.Sequential(nn.Linear(2592, width), nn.ReLU(), nn.Linear(width, 2))
        yield {"by": "parameters", "batch": 8, **_step(network, torch.randn(8, 2592), 2)}
    yield {"by": "optimizer", "parameters": 10_641_441, "milliseconds": round(1000 * _adam_step(10_641_441), 2)}


def _adam_step(parameters: int) -> float:
    """Return the seconds of the optimizer's pass alone."""
    weights = nn.Parameter(torch.zeros(parameters))
    weights.grad = torch.ones_like(weights)
    optimizer = torch.optim.Adam([weights], fused=True)
    return median(_seconds(optimizer.step) for _ in range(30))


def _step(network: nn.Module, rows: torch.Tensor, classes: int) -> dict[str, Any]:
    """Return the milliseconds of one step of zoo's loop, the median of 30."""
    recipe = Recipe(name="r", summary="s", model="m", dataset="d", epochs=1, batch_size=len(rows))
    examples = _Rows(rows.repeat(30, 1), torch.arange(30 * len(rows)) % classes)
    loop = TrainingLoop(network, recipe, torch.device("cpu"), Precision.pick("auto", torch.device("cpu")))
    stamps = [time.perf_counter()]
    with retain_freed_memory():
        stamps += [time.perf_counter() for event in loop.train(examples, {}) if isinstance(event, Progress)]
    steps = [1000 * (later - sooner) for sooner, later in itertools.pairwise(stamps)]
    found = {"parameters": sum(p.numel() for p in network.parameters()), "milliseconds": round(median(steps), 2)}
    print(json.dumps(found), flush=True)
    return found


@dataclass(frozen=True)
class _Rows:
    rows: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...] = ()
    inference_batch_size: int = 1024

    def stream(self, batches: Sequence[torch.Tensor], epoch: int) -> Iterator[torch.Tensor]:
        return (self.rows[indices] for indices in batches)


def _accuracy(run: dict[str, Any]) -> str:
    return f"{run['metrics']['validation_accuracy']:.2%}"


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _thousand_images(out: Path) -> list[Path]:
    images = load_registry().dataset("horses-or-humans").edition("original").files["train"]
    shutil.unpack_archive(Store.default().fetch(images, "horses-or-humans.original (train)"), out / "images", "zip")
    return list_image_files(out / "images")[:1000]


class _Files(torch.utils.data.Dataset[torch.Tensor]):
    """As people write it: PIL, Resize, ToTensor, Normalize."""

    steps = transforms.Compose(
        [transforms.Resize((299, 299)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.steps(datasets.folder.default_loader(self.files[index]))


def _loop(files: list[Path], workers: int, model: list[nn.Module] = []) -> None:  # noqa: B006 - built once
    if not model:
        model.append(create_model("horses-inception", weights="pretrained"))
    with torch.inference_mode():
        for batch in DataLoader(_Files(files), batch_size=32, num_workers=workers):
            model[0](batch).softmax(dim=1)


def _best_workers(files: list[Path]) -> int:
    _loop(files[:32], 0)
    return min(range(3), key=lambda workers: _seconds(lambda: _loop(files[:160], workers)))


def _decoding(predictor: Any, images: list[Any]) -> float:
    return _seconds(lambda: list(prefetch_map(predictor._read, images, inference_batch_size(predictor.input))))


def _network(predictor: Any, images: list[Any]) -> float:
    """Return the seconds that decoded images take through the network."""
    batches = list(prefetch_map(predictor._read, images, inference_batch_size(predictor.input)))
    scale = normalize_transform(predictor.input)
    with torch.inference_mode():
        answer = predictor._folded
        return _seconds(lambda: [answer(scale(torch.stack([pixels for _, pixels in batch]))) for batch in batches])


def _write_images(root: Path, count: int) -> None:
    """Write `count` different images of 28 × 28 pixels in ten folders."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for kind in range(10):
        (root / f"kind-{kind}").mkdir(parents=True)
    for number in range(count):
        pixels = torch.randint(0, 256, (28, 28), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(root / f"kind-{number % 10}" / f"{number}.png", compress_level=1)


PARTS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {
    "list": listing,
    "horses": horses,
    "fashion": fashion,
    "ranks": world,
    "predict": predict,
    "inception": inception,
    "memory": memory,
    "precision": precision,
    "folder": folder,
    "growth": growth,
}


def main() -> None:
    """Measure the given parts, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    names = parser.parse_args().parts or list(PARTS)
    for name in names:
        with tempfile.TemporaryDirectory() as out:
            found = list(PARTS[name](Path(out)))
        results = json.loads(PAGE.read_text()) if PAGE.is_file() else {}
        results[name] = {
            "day": datetime.now(UTC).date().isoformat(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "bfloat16": torch.cpu._is_avx512_bf16_supported(),
            "figures": found,
        }
        PAGE.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
