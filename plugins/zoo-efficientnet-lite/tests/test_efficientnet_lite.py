from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from zoo_efficientnet_lite.labels import imagenet
from zoo_efficientnet_lite.model import BLOCK, FIRST_BLOCK, OUTSIDE, convert, efficientnet_lite

import zoo_core as zoo
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.models.inference import fold_batchnorm

REGISTRY = zoo.load_registry()
VARIANTS = (0, 1, 2)


def network(variant: int, num_classes: int = 1000) -> nn.Module:
    torch.manual_seed(variant)
    return efficientnet_lite(num_classes, variant=variant).eval()


def published(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors under the names in the published files, whose blocks are numbered throughout."""
    blocks: list[str] = []
    inverse = {**{new: old for old, new in OUTSIDE.items()}}
    tensors = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[0] != "blocks":
            tensors[f"{inverse[parts[0]]}.{parts[1]}"] = tensor
            continue
        stage, block, layer, what = parts[1:]
        if (path := f"{stage}.{block}") not in blocks:
            blocks.append(path)
        number = blocks.index(path)
        old = next(old for old, new in (BLOCK if number else FIRST_BLOCK).items() if new == layer)
        tensors[f"_blocks.{number}.{old}.{what}"] = tensor
    return tensors


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_names_become_timms(variant: int) -> None:
    model = network(variant)
    state = model.state_dict()
    converted = convert(model, published(model))
    assert list(converted) == list(state)
    assert all(converted[name] is not None and torch.equal(converted[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["_blocks.99._bn0.bias", "_blocks.0._expand_conv.weight", "_se.weight"])
def test_a_tensor_that_does_not_belong_stays_unknown(name: str) -> None:
    model = network(0)
    assert not {*convert(model, {name: torch.zeros(1)})} & {*model.state_dict()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_counted_by_hand(variant: int) -> None:
    """Stem, blocks and head from the paper's table, scaled in width and depth as the Lite variants are."""
    deeper = (1.0, 1.1, 1.2)[variant]
    stages = [
        (1, 3, 16, 1),
        (6, 3, 24, 2),
        (6, 5, 40, 2),
        (6, 3, 80, 3),
        (6, 5, 112, 3),
        (6, 5, 192, 4),
        (6, 3, 320, 1),
    ]
    wider = (1.0, 1.0, 1.1)[variant]
    total, inputs = 32 * 3 * 9 + 2 * 32, 32
    for number, (expand, kernel, channels, repeats) in enumerate(stages):
        outputs = round_to_eight(channels * wider)
        fixed = number in (0, len(stages) - 1)  # Lite does not deepen the first and last stage
        for _ in range(repeats if fixed else -int(-repeats * deeper // 1)):
            inner = inputs * expand
            total += (inputs * inner + 2 * inner if expand > 1 else 0) + inner * kernel**2 + 2 * inner
            total += inner * outputs + 2 * outputs
            inputs = outputs
    total += inputs * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    card = REGISTRY.model(f"efficientnet-lite{variant}")
    assert total == card.parameters == sum(p.numel() for p in network(variant).parameters())


def round_to_eight(width: float) -> int:
    """The closest multiple of eight that is not more than a tenth smaller."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near


@pytest.mark.parametrize("variant", VARIANTS)
def test_preprocessing_is_googles(variant: int) -> None:
    """The center of 224 of 256 pixels (240 of 272, 260 of 292), and (pixel - 127) / 128."""
    card = REGISTRY.model(f"efficientnet-lite{variant}")
    image = Image.effect_noise((700, 500), 90).convert("RGB")
    config = timm.get_pretrained_cfg(f"tf_efficientnet_lite{variant}").to_dict()
    config["mean"], config["std"] = (127 / 255,) * 3, (128 / 255,) * 3
    theirs = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))(image)
    ours = preprocessing(card.input)(image)
    assert ours.shape == (3, card.input.size, card.input.size)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    black, white = (preprocessing(card.input)(Image.new("RGB", (300, 300), tone)) for tone in ("black", "white"))
    assert (black.min().item(), white.max().item()) == pytest.approx((-127 / 128, 1.0))


def test_classes_are_told_apart_by_their_names() -> None:
    names = imagenet()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[249], names[999]) == ("tench", "malamute", "toilet tissue")


def test_every_batchnorm_is_folded() -> None:
    model, inputs = network(0, 5), torch.randn(2, 3, 64, 64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    with torch.inference_mode():
        expected = model(inputs)
        folded = fold_batchnorm(model)
        assert not [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]
        torch.testing.assert_close(folded(inputs), expected, atol=1e-4, rtol=1e-4)


def legacy(tensors: Mapping[str, Tensor], path: Path) -> Path:
    torch.save(dict(tensors), path, _use_new_zipfile_serialization=False)
    return path


def test_weights_from_a_file_are_converted_once_and_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole run with made-up weights in the published format: pull, verify, predict without a network."""
    model = network(0)
    path = legacy(published(model), tmp_path / "lite0.pth")
    content = b"".join(zoo.unpickle_weights(path))
    packed = path.read_bytes()
    file = zoo.File.download(
        path.as_uri(),
        len(packed),
        hashlib.sha256(packed).hexdigest(),
        "zoo_core:unpickle_weights",
        content_size=len(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
    )
    card = REGISTRY.model("efficientnet-lite0")
    card = card.model_copy(update={"weights": (card.weights[0].model_copy(update={"file": file}),)})
    store = zoo.Store(tmp_path / "store")
    assert store.fetch(file, "lite0").read_bytes() == content  # converted again, to the same bytes
    monkeypatch.setattr(type(REGISTRY), "model", lambda *_: card)
    image = Image.effect_noise((300, 240), 90).convert("RGB")
    path = tmp_path / "photo.png"
    image.save(path)
    offline = zoo.Store(store.root, offline=True)
    (prediction,) = zoo.predict(card.name, path, registry=REGISTRY, store=offline, precision="float32")
    with torch.inference_mode():
        logits = model(preprocessing(card.input)(image).unsqueeze(0))[0]
    assert prediction.label == imagenet()[int(logits.argmax())]


@pytest.mark.index
@pytest.mark.parametrize("variant", [0, *(pytest.param(variant, marks=pytest.mark.slow) for variant in (1, 2))])
def test_the_published_weights_know_what_is_on_a_picture(variant: int, tmp_path: Path) -> None:
    """From an empty cache, as a user's first prediction."""
    store = zoo.Store(tmp_path / "store")
    picture = tmp_path / "horse.png"
    zoo.load_dataset("horses-or-humans", "validation", edition="compact")[0][0].save(picture)
    model = f"efficientnet-lite{variant}"
    (first,) = zoo.predict(model, picture, store=store)
    assert first.label == "sorrel"  # a chestnut horse
    assert zoo.predict(model, picture, store=zoo.Store(store.root, offline=True)) == [first]
