"""Three ways to train a head, on sets of photographs: prints a table of accuracies and of seconds for each head.

    python tests/benchmarks/photos.py FOLDER
    python tests/benchmarks/photos.py FOLDER --models efficientnet-lite0,efficientnet-lite2,horses-inception
    python tests/benchmarks/photos.py FOLDER --sets flowers,trash --seeds 5 --grid

Every subfolder of FOLDER is a set: class folders, or train/ and val/ with class folders in them. All images of a set
are pooled and split by the seed, 80 to 20 in every class. Features are computed once and cached:

- (a) is the recipe horses-inception: the notebook's head of 1,024 units for three epochs, on Inception's features,
- (b) is scikit-learn's LogisticRegressionCV, and (c) the recipe transfer, both on the features of the same model.

With --grid, the table compares criteria and scales of `logistic-head` instead.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from zoo_core import FolderImages, Job, Store, load_registry
from zoo_core.engine.compute.precision import FLOAT32
from zoo_core.engine.compute.seeding import seed_torch
from zoo_core.engine.models.build import build_planned, new_head, split_head
from zoo_core.engine.models.weights import load_weights
from zoo_core.engine.training.cross_validation import fit_head
from zoo_core.engine.training.features import Features, FrozenBackbone
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.events import drive, ignore_event

CPU = torch.device("cpu")
REGISTRY = load_registry()
Way = Callable[[Features, Features, int], float]  # train, test, seed -> accuracy


def split_by(features: Features, seed: int) -> tuple[Features, Features]:
    """Return the features to train on and to test on."""
    labels = features.labels.numpy()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed)
    return part_of(features, torch.from_numpy(train)), part_of(features, torch.from_numpy(test))


def part_of(features: Features, indices: torch.Tensor) -> Features:
    """Return the features of some images."""
    names = tuple(features.names[index] for index in indices.tolist())
    return Features(features.rows[indices], features.labels[indices], names)


def photo_set(folder: Path, model: str) -> Features:
    """Open a folder, and compute a model's features or take them from the cache."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    classes = tuple(sorted({path.parent.name for path in files}))
    labeled = tuple((path, classes.index(path.parent.name)) for path in files)
    plan = REGISTRY.plan("transfer", {"model": model})
    store, network = Store.default(), build_planned(plan)
    load_weights(network, plan.selection, store)
    job = Job(network, FolderImages(folder, labeled, classes), None, plan, store, CPU)
    with split_head(network, plan.model) as (backbone, _):
        return drive(FrozenBackbone(backbone, job, 16).features(job.train, folder.name), ignore_event)


def three_epochs(train: Features, test: Features, seed: int) -> float:
    """Train the head as the recipe horses-inception does."""
    recipe = REGISTRY.recipes["horses-inception"].model_copy(update={"seed": seed})
    seed_torch(seed, "build")
    head = new_head(torch.nn.Linear(train.rows.shape[1], 1), 1024, int(train.labels.max()) + 1)
    loop = TrainingLoop(head, recipe, CPU, replace(FLOAT32, fast_path=True))
    drive(loop.train(train), ignore_event)  # type: ignore[arg-type]
    return drive(loop.measure(test, what="test"), ignore_event).accuracy


def scikit_learn(train: Features, test: Features, seed: int) -> float:
    """Let scikit-learn choose among its ten default strengths."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=folds, max_iter=1000, scoring="accuracy"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that will change
        model.fit(train.rows.numpy(), train.labels.numpy())
    return float(np.mean(model.predict(test.rows.numpy()) == test.labels.numpy()))


def transfer(train: Features, test: Features, seed: int, **options: object) -> float:
    """Fit the head as the recipe transfer does."""
    classes = int(train.labels.max()) + 1
    fitted = drive(fit_head(train.rows, train.labels, classes=classes, seed=seed, **options), ignore_event)  # type: ignore[arg-type]
    return (fitted.logits(test.rows).argmax(dim=1) == test.labels).double().mean().item()


WAYS: Mapping[str, Way] = {"(b) scikit-learn": scikit_learn, "(c) transfer": transfer}
GRID: Mapping[str, Way] = {
    f"{criterion}, {'each feature scaled' if standardize else 'one scale'}": partial(
        transfer, criterion=criterion, standardize=standardize
    )
    for criterion in ("loss", "accuracy")
    for standardize in (True, False)
}


def measured(photos: Features, way: Way, seeds: int) -> tuple[float, float]:
    """Return the mean accuracy and the mean seconds over the seeds."""
    accuracies, seconds = [], []
    for seed in range(seeds):
        train, test = split_by(photos, seed)
        started = time.perf_counter()
        accuracies.append(way(train, test, seed))
        seconds.append(time.perf_counter() - started)
    return mean(accuracies), mean(seconds)


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="", help="names of subfolders, with commas; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", default="", help="whose features, with commas; the recipe transfer's by default")
    parser.add_argument("--grid", action="store_true", help="compare criteria and scales instead")
    options = parser.parse_args()
    names = options.sets.split(",") if options.sets else sorted(path.name for path in options.folder.iterdir())
    models = options.models.split(",") if options.models else [REGISTRY.recipes["transfer"].model]
    columns = {f"{way}, {model}": (model, GRID[way]) for model in models for way in GRID}
    if not options.grid:
        columns = {"(a) three epochs, horses-inception": ("horses-inception", three_epochs)}
        columns |= {f"{way}, {model}": (model, WAYS[way]) for model in models for way in WAYS}
    print("| set | images | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns), flush=True)
    table = []
    for name in names:
        features = {model: photo_set(options.folder / name, model) for model, _ in columns.values()}
        table.append([measured(features[model], way, options.seeds) for model, way in columns.values()])
        cells = [f"{accuracy:.2%}, {seconds:.1f} s" for accuracy, seconds in table[-1]]
        images = len(next(iter(features.values())).labels)
        print(f"| {name} | {images} | " + " | ".join(cells) + " |", flush=True)
    means = [f"{mean(row[number][0] for row in table):.2%}" for number in range(len(columns))]
    print("| mean | | " + " | ".join(means) + " |", flush=True)


if __name__ == "__main__":
    main()
