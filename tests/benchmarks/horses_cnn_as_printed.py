"""The source's own training of HorsesHumansCNN, as a PyTorch user would type it in from the document.

    zoo pull horses-or-humans.original --from FOLDER     # or let it be downloaded
    python tests/benchmarks/horses_cnn_as_printed.py --seed 0

Prints the source's three figures for each epoch, the clean validation accuracy, and the seconds. It shares no code with
the zoo's trainers: it shows how far one run of the printed code lies from another, and what the zoo's is to be held
against.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from zoo_core import Store, load_registry

HALF = [0.5, 0.5, 0.5]
RESIZE, SCALE = transforms.Resize((150, 150)), [transforms.ToTensor(), transforms.Normalize(mean=HALF, std=HALF)]
CLEAN = transforms.Compose([RESIZE, *SCALE])
TRAIN = transforms.Compose(
    [
        RESIZE,
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(20),
        transforms.RandomAffine(degrees=0, translate=(0.2, 0.2), scale=(0.8, 1.2), shear=20),
        *SCALE,
    ]
)


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


def unpack(folder: Path) -> None:
    """Write the original images out as the source's download does."""
    registry, store = load_registry(), Store.default()
    for split, file in registry.dataset("horses-or-humans").edition("original").files.items():
        with zipfile.ZipFile(store.fetch(file, f"horses-or-humans.original ({split})")) as archive:
            archive.extractall(folder / split)


def accuracy(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """Return the fraction of right answers in evaluation mode."""
    model.eval()
    with torch.no_grad():
        right = sum(((model(x).view(-1) > 0.5) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]


def train(folder: Path, seed: int, epochs: int) -> None:
    """Train as printed, and print each epoch."""
    torch.manual_seed(seed)
    loader = DataLoader(datasets.ImageFolder(folder / "train", TRAIN), batch_size=8, shuffle=True)
    through = DataLoader(datasets.ImageFolder(folder / "validation", TRAIN), batch_size=8, shuffle=True)
    clean = DataLoader(datasets.ImageFolder(folder / "validation", CLEAN), batch_size=8)
    model, criterion = HorsesHumansCNN(), nn.BCELoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    for epoch in range(epochs):
        started, running = time.perf_counter(), 0.0
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images).view(-1), labels.float())
            loss.backward()
            optimizer.step()
            running += loss.item()
        figures = f"train {accuracy(model, loader):.4f} validation through it {accuracy(model, through):.4f}"
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1} loss {running / len(loader):.4f} {figures}", end=" ")
        print(f"clean {accuracy(model, clean):.4f} {seconds:.1f} s", flush=True)


def main() -> None:
    """Train in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder))
        train(Path(folder), options.seed, options.epochs)


if __name__ == "__main__":
    main()
