from __future__ import annotations

import zoo_core as zoo
from zoo_core.testing import check_distribution


def test_everything_it_brings_keeps_its_word() -> None:
    check_distribution("zoo-alexnet")


def test_the_model_is_torchvisions_with_another_head() -> None:
    model = zoo.create_model("alexnet", num_classes=2)
    assert type(model).__module__ == "torchvision.models.alexnet"
    assert sum(parameter.numel() for parameter in model.parameters()) == 61_100_840 - 998 * 4097
