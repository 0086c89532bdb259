from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torchvision import transforms as v1

from zoo_core import ArrayImages, DataError, ImageInput, PluginError, Registry, Store, ZipImages
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.seeding import epoch_order, seed_for
from zoo_core.engine.data.augmentation import augment_batch, augmentation
from zoo_core.engine.data.batches import decode_all, iter_batches
from zoo_core.engine.data.loaders import load_examples
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.images.decode import decode_image, read_image
from zoo_core.recipes.settings import Affine, HorizontalFlip, Rotation

SQUASHED = ImageInput(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def picture(size: tuple[int, int] = (12, 10), mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A zip with classes whose string order and natural order differ."""
    with zipfile.ZipFile(tmp_path / "animals.zip", "w") as archive:
        for number, name in enumerate(["z10/b.png", "z2/a.png", "z10/a.png", "z1/c.png"]):
            archive.writestr(name, encoded(picture(seed=number)))
        archive.writestr("empty/", "")
    return tmp_path / "animals.zip"


def test_a_zips_classes_are_its_folders_in_plain_string_order(animals: Path) -> None:
    images = ZipImages(animals)
    assert images.classes == ("z1", "z10", "z2")
    assert [images.name(i) for i in range(len(images))] == ["z1/c.png", "z10/a.png", "z10/b.png", "z2/a.png"]
    assert [images[i][1] for i in range(len(images))] == [0, 1, 1, 2]


def test_a_fingerprint_depends_on_every_byte_and_label() -> None:
    pixels, labels = np.zeros((3, 2, 2), np.uint8), np.array([0, 1, 0])
    first = ArrayImages(pixels, labels, ("a", "b")).fingerprint
    assert ArrayImages(pixels.copy(), labels.copy(), ("a", "b")).fingerprint == first
    changed = pixels.copy()
    changed[2, 1, 1] = 1
    assert ArrayImages(changed, labels, ("a", "b")).fingerprint != first
    assert ArrayImages(pixels, labels[::-1] * 0, ("a", "b")).fingerprint != first


def test_a_zips_fingerprint_changes_with_any_image(animals: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(animals) as old, zipfile.ZipFile(tmp_path / "other.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, encoded(picture(seed=9)) if name == "z2/a.png" else old.read(name))
    assert ZipImages(animals).fingerprint != ZipImages(tmp_path / "other.zip").fingerprint


def test_squashed_images_match_torchvision() -> None:
    image = picture((300, 200))
    spec = ImageInput(size=150, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    theirs = v1.Compose([v1.Resize((150, 150)), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)])
    torch.testing.assert_close(preprocessing(spec)(image), theirs(image), atol=1e-6, rtol=0)


def test_cropped_images_match_torchvision() -> None:
    image = picture((400, 300))
    spec = ImageInput(
        size=224, resize="crop", crop_fraction=0.875, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1)
    )
    bicubic = v1.InterpolationMode.BICUBIC
    theirs = v1.Compose([v1.Resize(256, bicubic), v1.CenterCrop(224), v1.ToTensor()])
    torch.testing.assert_close(preprocessing(spec)(image), theirs(image), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (50, 20), (224, 224), (1, 900)])
def test_padded_images_match_resizing_and_padding_in_torchvision(size: tuple[int, int]) -> None:
    """A letterbox: the longer side becomes `size`; the margins have the mean color, which normalizes to about 0."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    spec = ImageInput(size=224, resize="pad", interpolation="bicubic", mean=mean, std=std)
    image = picture(size)
    width, height = (max(1, round(side * 224 / max(size))) for side in size)
    resized = v1.Resize((height, width), v1.InterpolationMode.BICUBIC)(image)
    left, top = (224 - width) // 2, (224 - height) // 2
    margins = [left, top, 224 - width - left, 224 - height - top]
    colour = tuple(round(255 * value) for value in mean)
    theirs = v1.Compose([v1.Pad(margins, fill=colour), v1.ToTensor(), v1.Normalize(mean, std)])(resized)
    ours = preprocessing(spec)(image)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    outside = torch.ones(224, 224, dtype=torch.bool)
    outside[top : top + height, left : left + width] = False
    assert ours[:, outside].abs().max() < 0.01 if outside.any() else size[0] == size[1]


def test_a_padded_gray_image_has_gray_margins() -> None:
    spec = ImageInput(size=8, channels=1, resize="pad", mean=(0.5,), std=(0.5,))
    assert (
        preprocessing(spec)(Image.new("RGB", (8, 2), "white"))[0, :, 0].round(decimals=1).tolist()
        == [0.0] * 3
        + [
            1.0,
            1.0,
        ]
        + [0.0] * 3
    )
    assert pickle.loads(pickle.dumps(preprocessing(spec)))(picture()).shape == (1, 8, 8)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
def test_images_of_every_mode_fit_every_model(mode: str) -> None:
    grey = ImageInput(size=8, channels=1, mean=(0.5,), std=(0.5,))
    assert preprocessing(SQUASHED)(picture(mode="RGB").convert(mode)).shape == (3, 8, 8)
    assert preprocessing(grey)(picture(mode="RGB").convert(mode)).shape == (1, 8, 8)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_batches_keep_the_order_for_every_batch_size(animals: Path, batch_size: int) -> None:
    images = ZipImages(animals)
    batches = list(iter_batches(images, SQUASHED, [3, 1, 0, 2], batch_size))
    assert [len(pixels) for pixels in batches[:-1]] == [batch_size] * (len(batches) - 1)
    decoded = decode_all(images, SQUASHED)
    assert torch.equal(torch.cat(batches), decoded.pixels[[3, 1, 0, 2]])
    assert decoded.labels.tolist() == [0, 1, 1, 2]
    assert decoded.pixels.dtype == torch.uint8


def test_a_zip_is_streamed_by_workers_as_it_is_in_memory(animals: Path) -> None:
    """Each process has its own file position."""
    images = ZipImages(animals)
    assert len(images.fingerprint) == 64  # the file is open here before the workers are forked
    batches = [torch.tensor([index]) for index in (3, 0, 2, 1) * 5]
    in_memory = torch.cat(list(load_examples(images, SQUASHED).stream(batches, 0)))
    streamed = torch.cat(list(load_examples(images, SQUASHED, max_bytes=0).stream(batches, 0)))
    assert torch.equal(in_memory, streamed)
    assert pickle.loads(pickle.dumps(images)) == images
    assert pickle.loads(pickle.dumps(preprocessing(SQUASHED)))(images[0][0]).shape == (3, 8, 8)


def test_bit_rot_in_a_zip_is_a_data_error(animals: Path) -> None:
    content = bytearray(animals.read_bytes())
    content[60] ^= 0xFF  # inside the first image
    animals.write_bytes(content)
    with pytest.raises(DataError, match="zoo cache verify"):
        decode_all(ZipImages(animals), SQUASHED)


def test_sixteen_bit_gray_is_scaled_not_clipped() -> None:
    ramp = Image.fromarray(np.linspace(0, 65_535, 64).reshape(8, 8).astype(np.uint16))
    grey = ImageInput(size=8, channels=1, mean=(0,), std=(1,))
    torch.testing.assert_close(preprocessing(grey)(ramp).flatten(), torch.linspace(0, 1, 64), atol=0.01, rtol=0)


def test_a_damaged_image_in_a_set_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/good.png", encoded(picture()))
        archive.writestr("b/bad.png", encoded(picture())[:60])
    with pytest.raises(DataError, match=r"b/bad.png cannot be decoded"):
        decode_all(ZipImages(tmp_path / "x.zip"), SQUASHED)


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4 ...", b"<svg/>", b"GIF89a", b"%!PS-Adobe"])
def test_files_that_are_not_images_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        decode_image(content, "x.jpg")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), st.integers(0, 2000), st.binary(max_size=20))
def test_a_damaged_image_gives_an_image_or_a_data_error(kind: str, at: int, junk: bytes) -> None:
    good = encoded(picture(), kind)
    try:
        assert decode_image(good[:at] + junk + good[at + len(junk) :], "x").size
    except DataError as error:
        assert "x" in error.what


def test_a_decompression_bomb_is_refused() -> None:
    content = bytearray(encoded(picture()))
    content[16:24] = (9000).to_bytes(4, "big") * 2
    with pytest.raises(DataError):
        decode_image(bytes(content), "bomb.png")


def test_an_image_is_rotated_as_its_exif_says() -> None:
    image, content = picture((12, 10)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(content, "JPEG", exif=exif)
    assert decode_image(content.getvalue(), "x").size == (10, 12)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.png cannot be read"):
        read_image(tmp_path / "nothing.png")


def test_a_missing_split_is_named(pond: Registry, store: Store) -> None:
    card, edition = pond.dataset("pond"), pond.dataset("pond").edition()
    smaller = edition.model_copy(update={"examples": {"train": 48}})
    with pytest.raises(DataError, match=r"pond.drawn has no test images\nits splits: train"):
        load_split(card, smaller, "test", store)


def test_a_dataset_that_differs_from_its_card_is_refused(pond: Registry, store: Store) -> None:
    card, edition = pond.dataset("pond"), pond.dataset("pond").edition()
    wrong = edition.model_copy(update={"examples": {"train": 47}})
    with pytest.raises(DataError, match="48 images"):
        load_split(card, wrong, "train", store)


def test_a_dataset_without_a_loader_is_a_plugin_error(pond: Registry, store: Store) -> None:
    card = pond.dataset("pond").model_copy(update={"loader": None})
    with pytest.raises(PluginError, match="dataset pond has no loader"):
        load_split(card, card.edition(), "train", store)


def test_an_epochs_order_is_a_function_of_seed_and_epoch() -> None:
    assert torch.equal(epoch_order(1, 2, 100), epoch_order(1, 2, 100))
    assert not torch.equal(epoch_order(1, 2, 100), epoch_order(1, 3, 100))
    assert not torch.equal(epoch_order(1, 2, 100), epoch_order(2, 2, 100))
    assert epoch_order(1, 2, 100).sort().values.tolist() == list(range(100))
    assert seed_for(1, 23) != seed_for(12, 3)


STEPS = (
    HorizontalFlip(name="horizontal-flip"),
    Rotation(name="rotation", degrees=20),
    Affine(name="affine", translate=(0.2, 0.2), scale=(0.8, 1.2), shear=20),
)


def test_augmentation_depends_only_on_the_key_and_the_index() -> None:
    steps = augmentation(STEPS)
    pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    indices = torch.tensor([5, 6, 7, 8])
    together = augment_batch(pixels, steps, (0, "train", 1), indices)
    before = torch.get_rng_state()
    alone = augment_batch(pixels[2:3], steps, (0, "train", 1), indices[2:3])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(alone[0], together[2])
    assert not torch.equal(augment_batch(pixels, steps, (0, "train", 2), indices), together)


def test_gray_images_are_augmented() -> None:
    pixels = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    assert augment_batch(pixels, augmentation(STEPS), (0,), torch.arange(2)).shape == (2, 1, 16, 16)
