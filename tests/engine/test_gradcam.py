"""Grad-CAM on networks whose answer is known by construction."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from zoo_core import Predictions, Registry, Store
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.precision import FLOAT32
from zoo_core.engine.data.batches import labels_of
from zoo_core.engine.explain.gradcam import gradcam
from zoo_core.engine.explain.mistakes import worst_predictions
from zoo_core.engine.models.build import build_model, state_hash
from zoo_core.images.image_sets import names_of


class Bright(nn.Module):
    """Predicts class 1 (or a positive logit) for bright images, through an in-place layer."""

    def __init__(self, logits: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.act, self.pool = nn.ReLU(inplace=True), nn.AvgPool2d(2)
        self.fc = nn.Linear(1, logits, bias=False)
        nn.init.ones_(self.conv.weight)
        self.fc.weight.data = torch.tensor([[-1.0], [1.0]])[-logits:]

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.act(self.conv(images))).mean(dim=(2, 3)))


@pytest.mark.parametrize("logits", [1, 2])
def test_the_brightest_region_supports_bright(logits: int) -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 0:2, 4:6] = 1
    heat = gradcam(Bright(logits).eval(), image, 1)
    assert heat is not None
    assert heat.shape == (8, 8)
    row, column = divmod(int(heat.argmax()), 8)
    assert row in (0, 1)
    assert column in (4, 5)
    assert heat.max() == pytest.approx(1)
    dark = gradcam(Bright(logits).eval(), image, 0)
    assert dark is not None
    assert dark.max() == 0  # nothing speaks for dark


def test_a_network_without_feature_maps_has_no_heat_map() -> None:
    assert gradcam(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval(), torch.rand(1, 1, 8, 8), 0) is None


def test_the_worst_mistakes_come_first_and_the_model_is_unchanged(pond: Registry, store: Store) -> None:
    plan = pond.plan("pond")
    images = load_split(plan.dataset, plan.edition, "validation", store)
    rows = torch.full((len(images), 3), 0.2)
    rows[torch.arange(len(images)), labels_of(images)] = 0.6
    wrong = (labels_of(images)[5].item() + 1) % 3
    rows[5] = 0.01
    rows[5, int(wrong)] = 0.98
    table = tuple(tuple(row) for row in rows.tolist())
    model = build_model(plan.model)
    before = state_hash(model)
    worst, *others = worst_predictions(
        model, images, plan.input, Predictions(names_of(images), tuple(labels_of(images).tolist()), table), FLOAT32
    )
    assert worst.name == images.name(5)
    assert worst.predicted == images.classes[int(wrong)]
    assert worst.probability == pytest.approx(0.01)
    assert len(others) == 7
    assert state_hash(model) == before
    assert worst.overlay is not None
    for content in (worst.image, worst.overlay):
        assert Image.open(io.BytesIO(content)).size == (plan.input.size, plan.input.size)
