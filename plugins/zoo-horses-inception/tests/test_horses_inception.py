from __future__ import annotations

import copy
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor, nn
from zoo_horses_inception.google_2015 import PER_BLOCK, read
from zoo_horses_inception.google_pooling import pool_as_google
from zoo_horses_inception.model import horses_inception

import zoo_core as zoo
from zoo_core import UsageError
from zoo_core.engine.data.preprocessing import preprocessing
from zoo_core.engine.models.build import freeze_until
from zoo_core.engine.models.inference import fold_batchnorm

RANDOM_RESNET = {"model_options.backbone": "resnet18", "weights": None, "trainer": "supervised"}


def test_the_head_is_that_of_the_notebook() -> None:
    with torch.device("meta"):
        model = horses_inception(2)
    assert [type(layer).__name__ for layer in model.fc] == ["Linear", "ReLU", "Linear"]
    assert [model.fc[0].in_features, model.fc[0].out_features, model.fc[2].out_features] == [2048, 1024, 2]
    backbone = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("fc."))
    assert (backbone, sum(p.numel() for p in model.fc.parameters())) == (21_785_568, 2_100_226)


def test_the_reader_puts_every_tensor_under_its_name(tmp_path: Path) -> None:
    """The n-th entry of the archive is filled with n, so that swapping any two would show."""
    with torch.device("meta"):
        backbone = {k: v for k, v in horses_inception(2).state_dict().items() if not k.startswith("fc.")}
    blocks = [name.removesuffix("conv.weight") for name in backbone if name.endswith("conv.weight")]
    assert len(blocks) == 94
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for number, (block, what) in enumerate((b, w) for b in blocks for w in PER_BLOCK):
            content = np.full(backbone[block + what].numel(), number, "<f4").tobytes()
            archive.writestr(f"out_jit_module/data/{number}", content)
    tensors = load(b"".join(read(tmp_path / "x.pt")))
    assert set(tensors) == set(backbone)
    for number, (block, what) in enumerate((b, w) for b in blocks for w in PER_BLOCK):
        assert tensors[block + what].shape == backbone[block + what].shape
        assert (tensors[block + what] == number).all()
    assert all((tensors[block + "bn.weight"] == 1).all() for block in blocks)


def test_an_entry_of_another_size_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("out_jit_module/data/0", bytes(100_000_000))
    with pytest.raises(ValueError, match="unpacks to 100,000,000 bytes, expected 3,456"):
        list(read(tmp_path / "x.pt"))


def test_the_loop_as_printed_leaves_most_of_the_last_block_trainable() -> None:
    with torch.device("meta"):
        model = horses_inception(2)
    freeze_until(model, "Mixed_7c")
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (trainable, sum(p.numel() for p in model.parameters())) == (7_521_666, 23_885_794)


def test_another_backbone_brings_its_preprocessing_and_width() -> None:
    plan = zoo.load_registry().plan("horses-inception", RANDOM_RESNET)
    timms = timm.create_model("resnet18").default_cfg
    assert (plan.input.size, plan.input.mean, plan.input.resize) == (224, timms["mean"], "crop")
    assert plan.model.trainable_parameters == 512 * 1024 + 1024 + 1024 * 2 + 2
    assert plan.model.weights == ()
    with torch.device("meta"):
        model = horses_inception(3, backbone="resnet18")
        assert model(torch.zeros(2, 3, 224, 224)).shape == (2, 3)


def test_preprocessing_of_a_backbone_is_timms() -> None:
    image = Image.effect_noise((400, 300), 90).convert("RGB")
    plan = zoo.load_registry().plan("horses-inception", RANDOM_RESNET)
    timms = timm.data.create_transform(**timm.data.resolve_model_data_config(timm.create_model("resnet18")))
    torch.testing.assert_close(preprocessing(plan.input)(image), timms(image), atol=1e-6, rtol=0)


def test_a_misspelled_backbone_suggests_the_closest_name() -> None:
    with pytest.raises(zoo.UnknownName, match="no timm model named 'resnt18'; did you mean 'resnet18'"):
        horses_inception(2, backbone="resnt18")


def test_an_archive_that_unpacks_to_far_too_much_is_refused_first(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("out_jit_module/data/0", bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unpacks to 50,000,000 bytes, expected 3,456"):
            list(read(tmp_path / "bomb.pt"))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """The same random parameters under both poolings."""
    torch.manual_seed(0)
    timms = horses_inception(2).eval()
    googles = copy.deepcopy(timms)
    pool_as_google(googles)
    return {"timm": timms, "google": googles}


def test_google_pooling_changes_no_parameter(networks: dict[str, nn.Module]) -> None:
    with torch.device("meta"):
        names = [(n, p.shape) for n, p in horses_inception(2, pooling="google").named_parameters()]
    assert names == [(n, p.shape) for n, p in networks["timm"].named_parameters()]


@pytest.mark.parametrize("block", ["Mixed_5b", "Mixed_6b", "Mixed_7b", "Mixed_7c"])
def test_blocks_pool_as_googles_graph(block: str, networks: dict[str, nn.Module]) -> None:
    """Away from the border, averages are equal; at it, they leave out the padding. The last block takes the maximum."""
    timms, googles = (network.get_submodule(block) for network in networks.values())
    x = torch.rand(1, timms.branch_pool.conv.in_channels, 7, 7) + 1
    pooled: list[Tensor] = []
    handles = [b.branch_pool.register_forward_pre_hook(lambda _, x: pooled.append(x[0])) for b in (timms, googles)]
    with torch.inference_mode():
        theirs, ours = timms(x), googles(x)
    for handle in handles:
        handle.remove()
    width = timms.branch_pool.conv.out_channels
    torch.testing.assert_close(ours[:, :-width], theirs[:, :-width])  # the other branches
    neighbors = nn.functional.unfold(nn.functional.pad(x, (1, 1, 1, 1), value=float("nan")), 3)
    neighbors = neighbors.view(1, x.shape[1], 9, 7, 7)
    expected = neighbors.nan_to_num(-1.0).amax(2) if block == "Mixed_7c" else neighbors.nanmean(2)
    torch.testing.assert_close(pooled[1], expected)
    assert not torch.allclose(pooled[0], expected)


def test_google_pooling_is_kept_by_the_fast_copy(networks: dict[str, nn.Module]) -> None:
    network, x = networks["google"], torch.randn(1, 3, 80, 80)
    with torch.inference_mode():
        torch.testing.assert_close(fold_batchnorm(copy.deepcopy(network))(x), network(x), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("options", [{"pooling": "max"}, {"pooling": "google", "backbone": "resnet18"}])
def test_other_poolings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"has no pooling '{options['pooling']}'"):
        horses_inception(2, **options)


def test_new_runs_start_from_googles_network_and_recorded_ones_from_theirs() -> None:
    registry = zoo.load_registry()
    plan = registry.plan("horses-inception")
    assert ([w.name for w in plan.weights], plan.model_options) == (["inception-2015"], {"pooling": "google"})
    recorded = registry.plan("horses-inception", {"weights": "google-2015"})
    assert recorded.model_options == {}
    recipe = recorded.recipe.model_copy(update={"weights": "pretrained"})  # which meant google-2015 then
    again = registry.plan_again(recorded.model_copy(update={"recipe": recipe}))
    assert (again.weights, again.model_options) == (recorded.weights, {})
    both = {w.name: w for w in registry.model("horses-inception").weights}
    assert both["google-2015"].file == both["inception-2015"].file
    assert both["google-2015"].identity[1:] != both["inception-2015"].identity[1:]
