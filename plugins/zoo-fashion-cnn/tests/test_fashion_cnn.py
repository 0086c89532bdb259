from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo_fashion_cnn.data import read_idx
from zoo_fashion_cnn.fashion_net import FashionNet
from zoo_fashion_cnn.model import FashionCNN

import zoo_core as zoo


def as_printed(model: FashionCNN, images: Tensor) -> Tensor:
    """Return what the notebook's forward returns, step by step, with this model's parameters."""
    out = nn.functional.conv2d(images, model.layer1[0].weight, model.layer1[0].bias, padding=1)
    out = nn.functional.max_pool2d(out.relu(), 2, 2)
    out = nn.functional.conv2d(out, model.layer2[0].weight, model.layer2[0].bias)
    out = nn.functional.max_pool2d(out.relu(), 2)
    out = out.view(out.size(0), -1)
    out = out @ model.fc1.weight.T + model.fc1.bias
    return out @ model.fc2.weight.T + model.fc2.bias


def test_the_network_is_the_sources() -> None:
    model, images = FashionCNN(), torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(model(images), as_printed(model, images))
    assert [name for name, _ in model.named_children()] == ["layer1", "layer2", "fc1", "fc2"]


def test_fashion_net_is_not_larger_than_the_notebooks_network() -> None:
    net, notebooks = FashionNet(), FashionCNN()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert sizes == {"stem": 4_848, "middle": 92_544, "last": 221_760, "fc": 970}
    assert sum(sizes.values()) == 320_122
    assert sum(sizes.values()) <= sum(p.numel() for p in notebooks.parameters()) == 333_898


def test_fashion_net_halves_its_maps_twice() -> None:
    net, images = FashionNet(5).eval(), torch.randn(3, 1, 28, 28)
    stem = net.stem(images)
    middle = net.middle(stem)
    assert (stem.shape, middle.shape) == ((3, 32, 14, 14), (3, 64, 7, 7))
    features = net.last(middle)
    assert features.shape == (3, 96, 1, 1)
    assert torch.equal(net(images), net.fc(features.flatten(1)))
    assert net(images).shape == (3, 5)


def test_fashion_nets_weights_are_as_accurate_as_reported_on_the_sample() -> None:
    card = zoo.load_registry().model("fashion-net").weights[0]
    evaluation = zoo.evaluate("fashion-net", precision="float32")
    assert card.reported[0].n == 1_000
    assert evaluation.accuracy == pytest.approx(card.reported[0].accuracy, abs=0.002)


@pytest.mark.parametrize("recipe", ["fashion-cnn-best", "fashion-net"])
def test_the_best_recipes_train_on_all_images_and_test_once(recipe: str) -> None:
    plan = zoo.load_registry().plan(recipe)
    assert plan.edition.examples == {"train": 60_000, "test": 10_000}
    assert plan.model.parameters <= 333_898
    assert plan.weights == ()
    assert plan.recipe.keep == "last"  # nothing is chosen by an image that is tested on


@pytest.mark.parametrize(("split", "each"), [("train", 600), ("test", 100)])
def test_the_sample_is_balanced(split: zoo.cards.Split, each: int) -> None:
    images = zoo.load_dataset("fashion-mnist", split)
    assert Counter(images[i][1] for i in range(len(images))) == dict.fromkeys(range(10), each)
    assert images[0][0].size == (28, 28)


def test_idx_files_are_read_packed_or_not(tmp_path: Path) -> None:
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    for name in ("plain", "packed"):
        assert np.array_equal(read_idx(tmp_path / name), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\0\x0d\x01", bytes([0, 0, 8, 1, 0, 0, 0, 9]) + b"short"])
def test_what_is_no_idx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(zoo.DataError):
        read_idx(tmp_path / "x")
