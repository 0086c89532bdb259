from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from zoo_horses_cnn.augmentation import flat_background
from zoo_horses_cnn.model import HorsesHumansCNN, horses_cnn_300

import zoo_core as zoo


def test_the_network_is_the_sources_up_to_its_sigmoid() -> None:
    model, images = HorsesHumansCNN().eval(), torch.randn(2, 3, 150, 150)
    x = model.pool(F.relu(model.conv1(images)))
    x = model.pool(F.relu(model.conv2(x)))
    x = model.pool(F.relu(model.conv3(x)))
    x = x.view(-1, 64 * 18 * 18)
    x = model.fc2(model.drop(F.relu(model.fc1(x))))
    torch.testing.assert_close(model(images).sigmoid(), torch.sigmoid(x))
    assert [name for name, _ in model.named_children()] == ["conv1", "conv2", "conv3", "pool", "fc1", "drop", "fc2"]


def test_the_larger_variant_takes_larger_images() -> None:
    with torch.device("meta"):
        model = horses_cnn_300(2)
        assert model.fc1.in_features == 64 * 37 * 37
        assert model(torch.zeros(1, 3, 300, 300)).shape == (1, 1)


def test_other_classes_get_a_logit_each() -> None:
    with torch.device("meta"):
        assert HorsesHumansCNN(5)(torch.zeros(1, 3, 150, 150)).shape == (1, 5)


@pytest.fixture
def disc() -> Tensor:
    """A dark disc before two light colors: (3, 40, 40) uint8."""
    image = torch.full((3, 40, 40), 200, dtype=torch.uint8)
    image[:, 20:] = 120
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    return torch.where((rows - 20) ** 2 + (columns - 20) ** 2 < 100, torch.tensor(10, dtype=torch.uint8), image)


def test_a_flat_background_spares_the_subject(disc: Tensor) -> None:
    torch.manual_seed(0)
    before, subject = disc.clone(), disc[0] == 10
    changed = flat_background(1.0, (5, 35), 1.0, 1.0)(disc)
    assert (changed.shape, changed.dtype) == (disc.shape, torch.uint8)
    assert (changed[:, subject] == 10).float().mean() > 0.95
    assert (changed[:, ~subject] == 255).float().mean() > 0.9  # the disc's margin is left to it
    assert torch.equal(disc, before)
    colors = [tuple(flat_background(1.0, (5, 35), 0.0, 1.0)(disc)[:, 0, 0].tolist()) for _ in range(4)]
    assert len(set(colors)) == 4
    assert (255, 255, 255) not in colors


def test_what_the_border_does_not_see_stays(disc: Tensor) -> None:
    eye = disc.clone()
    eye[:, 18:23, 18:23] = 200  # in a color of the border, inside the subject
    changed = flat_background(1.0, (5, 35), 1.0, 1.0)(eye)
    assert (changed[:, 18:23, 18:23] == 200).all()


def test_a_picture_that_would_vanish_stays(disc: Tensor) -> None:
    plain = torch.full((3, 40, 40), 90, dtype=torch.uint8)
    assert torch.equal(flat_background(1.0, (5, 35), 1.0, 1.0)(plain), plain)
    assert torch.equal(flat_background(0.0, (5, 35), 1.0, 1.0)(disc), disc)


def test_before_a_flat_background_a_subject_shrinks(disc: Tensor) -> None:
    torch.manual_seed(0)
    darks = [int((flat_background(1.0, (5, 35), 1.0, 0.4)(disc)[0] < 60).sum()) for _ in range(20)]
    assert 0.4**2 * int((disc[0] == 10).sum()) * 0.6 < min(darks) < max(darks) <= int((disc[0] == 10).sum())


def test_the_best_recipe_trains_the_notebooks_network() -> None:
    plan = zoo.load_registry().plan("horses-cnn-best")
    assert (plan.model.name, plan.model.parameters, plan.weights) == ("horses-cnn", 10_641_441, ())
    assert plan.recipe.keep == "last"
    assert [component.name for component in plan.components] == ["flat-background"]
