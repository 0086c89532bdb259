"""Random crops, colors, erasing and TrivialAugment: same draws everywhere, and what each does to an image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as F

import zoo_core as zoo
from zoo_core import Recipe, UsageError
from zoo_core.engine.data.augmentation import augment_batch, augmentation
from zoo_core.engine.data.batch_augmentation import BatchAugmentation, uniform_by_index

NEW: dict[str, dict[str, Any]] = {
    "random-crop": {"padding": 3},
    "random-resized-crop": {},
    "color-jitter": {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
    "trivial-augment": {},
    "random-erasing": {"p": 1.0},
}
FLIP = {"name": "horizontal-flip"}


def steps(*augment: dict[str, Any]) -> tuple[Any, ...]:
    return Recipe(name="r", summary="s", model="m", dataset="d", epochs=1, batch_size=1, augment=augment).augment


def noise(count: int, channels: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flipped", [False, True])
def test_draws_depend_on_the_key_and_the_index_alone(name: str, channels: int, flipped: bool) -> None:
    transform = augmentation(steps(*([FLIP] if flipped else []), {"name": name, **NEW[name]}))
    pixels, indices = noise(6, channels, 24), torch.tensor([9, 4, 5, 70_000, 7, 8])
    together, state = augment_batch(pixels, transform, (0, "train", 1), indices), torch.get_rng_state()
    assert (together.shape, together.dtype) == (pixels.shape, torch.uint8)
    assert not torch.equal(together, pixels)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    shuffled = augment_batch(pixels[order], transform, (0, "train", 1), indices[order])
    assert torch.equal(shuffled, together[order])
    alone = augment_batch(pixels[3:4], transform, (0, "train", 1), indices[3:4])
    assert torch.equal(alone[0], together[3])
    assert torch.equal(pixels, noise(6, channels, 24))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augment_batch(pixels, transform, (0, "train", 2), indices), together)


@pytest.mark.parametrize("augment", [[FLIP], [FLIP, {"name": "rotation", "degrees": 20}]])
def test_what_was_there_before_draws_as_it_did(augment: list[dict[str, Any]]) -> None:
    """From a PIL image, with PyTorch's generator seeded for each image: torchvision's own transforms."""
    transform, pixels = augmentation(steps(*augment)), noise(3, 3, 16)
    assert type(transform) is T.Compose
    by_torchvision = [T.RandomHorizontalFlip(0.5), *([T.RandomRotation(20.0)] if len(augment) > 1 else [])]
    expected = []
    for index in range(3):
        zoo.seed_torch(0, "train", 1, index)
        expected.append(F.pil_to_tensor(T.Compose(by_torchvision)(F.to_pil_image(pixels[index]))))
    assert torch.equal(augment_batch(pixels, transform, (0, "train", 1), torch.arange(3)), torch.stack(expected))


@pytest.mark.parametrize("side", [12, 80])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_a_shift_is_a_crop_of_the_padded_image(side: int, mode: str) -> None:
    pixels = noise(40, 3, side)
    transform = augmentation(steps({"name": "random-crop", "padding": 2, "padding_mode": mode}))
    assert isinstance(transform, BatchAugmentation)
    padded, corners = F.pad(pixels, [2], padding_mode=mode), set()
    for image, shifted in zip(padded, augment_batch(pixels, transform, (0,), torch.arange(40)), strict=True):
        places = [(y, x) for y in range(5) for x in range(5)]
        (corner,) = [(y, x) for y, x in places if torch.equal(image[:, y : y + side, x : x + side], shifted)]
        corners.add(corner)
    assert {y for y, _ in corners} == {x for _, x in corners} == set(range(5))


def test_erased_rectangles_have_the_size_and_the_value_asked_for() -> None:
    fields = {"p": 0.5, "scale": [0.1, 0.2], "ratio": [0.5, 2.0], "value": 7}
    transform = augmentation(steps({"name": "random-erasing", **fields}))
    pixels = torch.full((400, 3, 40, 50), 200, dtype=torch.uint8)
    erased = augment_batch(pixels, transform, (0,), torch.arange(400)) == 7
    shares = []
    for mask in erased[:, 0]:
        if mask.any():
            rows, columns = mask.any(dim=1).sum().item(), mask.any(dim=0).sum().item()
            assert mask.sum() == rows * columns  # one full rectangle
            assert 0.45 <= rows / columns <= 2.2
            shares.append(rows * columns / 2000)
    assert (erased == erased[:, :1]).all()
    assert 160 < len(shares) < 240
    assert 0.09 < min(shares) < 0.12
    assert 0.18 < max(shares) < 0.21
    assert sum(shares) / len(shares) == pytest.approx(0.15, abs=0.01)


def test_numbers_by_index_are_uniform_and_independent() -> None:
    numbers = uniform_by_index(12345, torch.arange(5000), 4)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    torch.testing.assert_close(numbers.mean(dim=0), torch.full((4,), 0.5, dtype=torch.float64), atol=0.02, rtol=0)
    torch.testing.assert_close(numbers.var(dim=0), torch.full((4,), 1 / 12, dtype=torch.float64), atol=0.005, rtol=0)
    both = torch.cat([numbers.T, uniform_by_index(12346, torch.arange(5000), 4).T])
    assert (torch.corrcoef(both) - torch.eye(8)).abs().max() < 0.06


def test_the_numbers_are_those_of_splitmix64() -> None:
    """The first outputs for the seed 0 are published: 0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, ..."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert uniform_by_index(0, torch.tensor([0]), 4)[0].tolist() == [(one >> 11) * 2.0**-53 for one in published]
    assert uniform_by_index(0, torch.tensor([1]), 2)[0].tolist() == [(one >> 11) * 2.0**-53 for one in published[2:]]


def test_on_a_picture_the_steps_are_torchvisions() -> None:
    picture = Image.effect_noise((24, 24), 80).convert("RGB")
    transform = augmentation(steps(FLIP, {"name": "random-crop", "padding": 2}, {"name": "random-erasing", "p": 1.0}))
    torch.manual_seed(0)
    mine = F.pil_to_tensor(transform(picture))
    torch.manual_seed(0)
    flip_and_crop = T.Compose([T.RandomHorizontalFlip(0.5), T.RandomCrop((24, 24), 2)])
    theirs = T.RandomErasing(1.0, (0.02, 0.33), (0.3, 3.3), value=128)(F.pil_to_tensor(flip_and_crop(picture)))
    assert torch.equal(mine, theirs)


def test_a_resized_crop_keeps_the_size_and_the_area_asked_for() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(3, 64, 64).contiguous()
    transform = augmentation(steps({"name": "random-resized-crop", "scale": [0.25, 0.25], "ratio": [1.0, 1.0]}))
    for image in augment_batch(ramp.expand(8, -1, -1, -1), transform, (0,), torch.arange(8)):
        assert image.shape == (3, 64, 64)
        spread = int(image[0, 32, -1]) - int(image[0, 32, 0])
        assert 110 < spread < 135  # half the width of the ramp


def test_mixing_alone_is_no_augmentation_of_single_images() -> None:
    with pytest.raises(UsageError, match="no augmentation of single images is given"):
        augmentation(steps({"name": "mixup"}))
    assert len(augmentation(steps({"name": "mixup"}, FLIP)).transforms) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "random-resized-crop", "scale": [0.9, 0.5]},
        {"name": "random-erasing", "scale": [0.0, 0.5]},
        {"name": "color-jitter", "hue": 0.6},
        {"name": "random-crop", "padding": 0},
        {"name": "mixup", "alpha": 0},
    ],
    ids=lambda wrong: wrong["name"],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        steps(wrong)
