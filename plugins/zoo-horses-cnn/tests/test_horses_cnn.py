from __future__ import annotations

import torch
from torch.nn import functional as F
from zoo_horses_cnn.model import HorsesHumansCNN, horses_cnn_300


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
