"""Which parameters the optimizer updates together: a learning rate for each block of layers, weight decay or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from zoo_core.recipes.recipe import Recipe
from zoo_core.recipes.settings import AdamW

SCALE = "lr_scale"  # a group's learning rate as a multiple of the run's, under the name that timm uses
NORMALIZATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
Groups = list[nn.Parameter] | list[dict[str, Any]]


def parameter_groups(model: nn.Module, recipe: Recipe) -> Groups:
    """Return the trainable parameters: a plain list, or groups if the recipe treats some of them differently.

    With `layer_decay`, the last block has the run's learning rate, and every block that rate times the decay for each
    block after it. With AdamW's `decay_biases = false`, parameters with at most one dimension have no weight decay:
    biases, and the scales and shifts of normalization layers.
    """
    spared = isinstance(recipe.optimizer, AdamW) and not recipe.optimizer.decay_biases
    if recipe.layer_decay == 1 and not spared:
        return [parameter for parameter in model.parameters() if parameter.requires_grad]
    blocks = parameter_blocks(model)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for above, block in zip(reversed(range(len(blocks))), blocks, strict=True):
        for parameter in block:
            if parameter.requires_grad:
                without = spared and parameter.ndim <= 1
                fresh = {"params": [], SCALE: recipe.layer_decay**above, **({"weight_decay": 0.0} if without else {})}
                groups.setdefault((above, without), fresh)["params"].append(parameter)
    return list(groups.values())


def parameter_blocks(model: nn.Module) -> list[list[nn.Parameter]]:
    """Return a model's parameters by block, from the input to the head, each parameter once.

    Blocks are the model's direct submodules in the order in which they are defined, and the parts of those that are a
    `Sequential` or `ModuleList`; the last submodule is one block, the head. A normalization layer among them belongs to
    the block before it. Parameters of the model itself, such as position embeddings, belong to the first block.
    """
    blocks: list[list[nn.Parameter]] = []
    seen: set[int] = set()
    for module in _blocks(model):
        block = [parameter for parameter in module.parameters() if id(parameter) not in seen]
        seen.update(map(id, block))
        if block and blocks and isinstance(module, NORMALIZATIONS):
            blocks[-1] += block
        elif block:
            blocks.append(block)
    rest = [parameter for parameter in model.parameters() if id(parameter) not in seen]
    if rest:
        blocks[:1] = [rest + (blocks[0] if blocks else [])]
    return blocks


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that are blocks; a network of one or two parts is divided inside its first part."""
    children = [child for child in model.children() if any(True for _ in child.parameters())]
    if not children:
        yield model
        return
    if len(children) == 1:
        yield from _blocks(children[0])
        return
    for child in children[:-1]:
        if len(children) == 2:
            yield from _parts(child)
        else:
            yield from child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else (child,)
    yield children[-1]


def _parts(backbone: nn.Module) -> Iterator[nn.Module]:
    for child in backbone.children() if list(backbone.children()) else (backbone,):
        yield from child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else (child,)
