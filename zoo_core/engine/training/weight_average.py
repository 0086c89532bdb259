"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

WARM_UP = 10  # in the first steps, the average forgets its start faster: see `WeightAverage.update`


class WeightAverage:
    """Averages the trainable parameters and the floating-point buffers, such as BatchNorm's statistics.

    The model holds its own weights during training, and the average while it is measured and kept: `load` and `unload`
    exchange them in place. What is not averaged is the same in both; with a decay of None, that is everything.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        names = model.state_dict().keys()
        state: dict[str, Tensor] = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
        state |= {name: tensor for name, tensor in model.named_buffers() if name in names}
        averaged = {} if decay is None else state
        self._decay = 0.0 if decay is None else decay
        self._in_model = {name: tensor.data for name, tensor in averaged.items() if tensor.is_floating_point()}
        self._outside = {name: tensor.clone() for name, tensor in self._in_model.items()}
        self._loaded = False

    def update(self, step: int) -> None:
        """Move the average toward the model's weights after a step, counted from 0.

        The decay is min(decay, (1 + step) / (10 + step)): without it, a run of a few hundred steps would keep mostly
        the weights that it started from.
        """
        decay = min(self._decay, (1 + step) / (WARM_UP + step))
        for name, average in self._outside.items():
            average.lerp_(self._in_model[name], 1 - decay)

    def load(self) -> None:
        """Let the model hold the average, if it does not."""
        if not self._loaded:
            self._exchange()

    def unload(self) -> None:
        """Let the model hold its own weights again, if it does not."""
        if self._loaded:
            self._exchange()

    def _exchange(self) -> None:
        for name, outside in self._outside.items():
            own = outside.clone()
            outside.copy_(self._in_model[name])
            self._in_model[name].copy_(own)
        self._loaded = not self._loaded

    @property
    def own(self) -> Mapping[str, Tensor]:
        """The model's own weights by name; not copies."""
        return self._outside if self._loaded else self._in_model

    @property
    def average(self) -> Mapping[str, Tensor]:
        """The averages by name; not copies."""
        return self._in_model if self._loaded else self._outside

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over averages from a checkpoint. Raises KeyError if one is missing, RuntimeError if a shape differs."""
        for name, average in self.average.items():
            average.copy_(tensors[name])
