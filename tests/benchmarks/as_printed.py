"""The notebook's training loops, as a PyTorch user would type them in: the baseline that zoo is compared with.

    zoo pull horses-or-humans.original     # or with --from FOLDER, where the files are; likewise fashion-mnist.full
    python tests/benchmarks/as_printed.py horses-cnn --seed 0

DataLoader, PIL transforms, float32; after every epoch the training and the validation images are evaluated, as in the
notebook's `train_model`. Where the notebook gives no training settings (FashionCNN) or only describes them (the
transfer model), they are the recipe's. Prints one line of JSON per epoch, and one for the total. zoo's trainers are not
used, only its Store for the files, and the weights of its Inception backbone.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

from zoo_core import Store, create_model, load_registry

STARTED = time.perf_counter()
HALF = [0.5, 0.5, 0.5]
SCALE = [transforms.ToTensor(), transforms.Normalize(mean=HALF, std=HALF)]
CLEAN = transforms.Compose([transforms.Resize((150, 150)), *SCALE])
AUGMENT = transforms.Compose(
    [
        transforms.Resize((150, 150)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(20),
        transforms.RandomAffine(degrees=0, translate=(0.2, 0.2), scale=(0.8, 1.2), shear=20),
        *SCALE,
    ]
)
INCEPTION = transforms.Compose([transforms.Resize((299, 299)), *SCALE])
FASHION = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])


class HorsesHumansCNN(nn.Module):
    """As printed, with its sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1 = nn.Linear(64 * 18 * 18, 512)
        self.drop = nn.Dropout(0.25)
        self.fc2 = nn.Linear(512, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities (N, 1)."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(F.relu(conv(x)))
        x = self.drop(F.relu(self.fc1(x.view(-1, 64 * 18 * 18))))
        return torch.sigmoid(self.fc2(x))


class FashionCNN(nn.Module):
    """As printed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 64, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2))
        self.layer2 = nn.Sequential(nn.Conv2d(64, 64, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2))
        self.fc1 = nn.Linear(64 * 6 * 6, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10)."""
        x = self.layer2(self.layer1(x))
        return self.fc2(self.fc1(x.view(x.size(0), -1)))


@dataclass(frozen=True)
class Notebook:
    """One of the notebook's models with its images, ready for the loop."""

    model: nn.Module
    train: Dataset[tuple[Tensor, int]]
    validation: dict[str, Dataset[tuple[Tensor, int]]]
    batch_size: int
    criterion: Callable[[Tensor, Tensor], Tensor]
    right: Callable[[Tensor, Tensor], Tensor]


def unzip(split: str, folder: Path) -> Path:
    """Write the original images to disk as the notebook's download does."""
    registry, store = load_registry(), Store.default()
    file = registry.dataset("horses-or-humans").edition("original").files[split]
    with zipfile.ZipFile(store.fetch(file, f"horses-or-humans.original ({split})")) as archive:
        archive.extractall(folder / split)
    return folder / split


def horses_cnn(folder: Path) -> Notebook:
    """The notebook's network and settings; its validation goes through the augmentation, ours is clean."""
    train, validation = unzip("train", folder), unzip("validation", folder)
    return Notebook(
        HorsesHumansCNN(),
        datasets.ImageFolder(train, AUGMENT),
        {"through it": datasets.ImageFolder(validation, AUGMENT), "clean": datasets.ImageFolder(validation, CLEAN)},
        batch_size=8,
        criterion=lambda outputs, labels: F.binary_cross_entropy(outputs.view(-1), labels.float()),
        right=lambda outputs, labels: (outputs.view(-1) > 0.5) == labels,
    )


def horses_inception(folder: Path) -> Notebook:
    """The notebook's freezing loop and head, on the same backbone and weights as zoo's."""
    model = create_model("horses-inception", weights="pretrained", head="fresh")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = False
        if "Mixed_7c" in name:
            break
    train, validation = unzip("train", folder), unzip("validation", folder)
    images = datasets.ImageFolder(train, INCEPTION)
    return _classifier(model, images, datasets.ImageFolder(validation, INCEPTION), batch_size=8)


def fashion_cnn(folder: Path) -> Notebook:
    """The notebook's network, on all 70,000 images."""
    files = load_registry().dataset("fashion-mnist").edition("full").files
    for key, name in {"train": "train", "test": "t10k"}.items():
        for what, kind in {"images": "idx3", "labels": "idx1"}.items():
            path = Store.default().fetch(files[f"{key}-{what}"], f"fashion-mnist.full ({key}-{what})")
            raw = folder / "FashionMNIST" / "raw" / f"{name}-{what}-{kind}-ubyte"
            raw.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, raw)
    train, test = (datasets.FashionMNIST(folder, train=side, transform=FASHION) for side in (True, False))
    return _classifier(FashionCNN(), train, test, batch_size=64)


def _classifier(
    model: nn.Module,
    train: Dataset[tuple[Tensor, int]],
    validation: Dataset[tuple[Tensor, int]],
    batch_size: int,
) -> Notebook:
    return Notebook(
        model,
        train,
        {"validation": validation},
        batch_size,
        criterion=F.cross_entropy,
        right=lambda outputs, labels: outputs.argmax(dim=1) == labels,
    )


def limited(book: Notebook, images: int) -> Notebook:
    """Return the notebook with fewer images of each split."""
    few = {name: Subset(one, range(images)) for name, one in book.validation.items()}
    return replace(book, train=Subset(book.train, range(images)), validation=few)


def accuracy(book: Notebook, images: Dataset[tuple[Tensor, int]]) -> float:
    """Return the accuracy in evaluation mode."""
    book.model.eval()
    with torch.no_grad():
        loader = DataLoader(images, batch_size=book.batch_size)
        right = sum(book.right(book.model(x), y).sum().item() for x, y in loader)
    return right / len(images)  # type: ignore[arg-type]


def train(book: Notebook, epochs: int) -> None:
    """Train, and print each epoch."""
    loader = DataLoader(book.train, batch_size=book.batch_size, shuffle=True)
    optimizer = optim.Adam((p for p in book.model.parameters() if p.requires_grad), lr=0.001)
    for epoch in range(epochs):
        started, running = time.perf_counter(), 0.0
        book.model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = book.criterion(book.model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        trained = time.perf_counter() - started
        measured = {"train": accuracy(book, book.train)}
        measured |= {name: accuracy(book, images) for name, images in book.validation.items()}
        seconds = {"training": round(trained, 2), "seconds": round(time.perf_counter() - started, 2)}
        print(json.dumps({"epoch": epoch + 1, "loss": running / len(loader), **measured, **seconds}), flush=True)


def main() -> None:
    """Train in a temporary folder."""
    books = {"fashion-cnn": fashion_cnn, "horses-cnn": horses_cnn, "horses-inception": horses_inception}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("book", choices=books)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--limit", type=int, help="Take the first images of each split only: for memory, not for time.")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        book = books[options.book](Path(folder))
        train(book if options.limit is None else limited(book, options.limit), options.epochs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"whole": round(time.perf_counter() - STARTED, 2), "peak_bytes": peak}))


if __name__ == "__main__":
    main()
