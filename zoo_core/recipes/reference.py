"""Published values of models and recipes, to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    PositiveInt,
    model_validator,
)

from zoo_core.cards.fields import FrozenModel

ROUNDING = 1e-6  # a mean of float32 values is this close: 0.871999979 reaches a bound of 0.872


class ReferenceMetric(FrozenModel):
    """A published metric: either a lower bound, or a value with a tolerance."""

    at_least: FiniteFloat | None = Field(default=None, description="lower bound")
    value: FiniteFloat | None = Field(default=None, description="published value")
    within: FiniteFloat | None = Field(
        default=None,
        description="tolerance around `value`; chosen by zoo, not by the document",
    )
    quote: str = Field(default="", description="the document's own words")

    @model_validator(mode="after")
    def _a_bound_or_a_value(self) -> Self:
        if (self.at_least is None) == (self.value is None) or (self.value is None) != (self.within is None):
            raise ValueError("give either at_least, or value and within")
        return self

    def holds(self, measured: float) -> bool:
        """Return whether a measurement matches the published metric."""
        if self.at_least is not None:
            return measured >= self.at_least - ROUNDING
        assert self.value is not None
        assert self.within is not None
        return abs(measured - self.value) <= self.within + ROUNDING


class RecipeReference(FrozenModel):
    """What a document publishes for a recipe, and where."""

    section: str = Field(description="section of the document")
    metrics: Mapping[str, ReferenceMetric] = Field(description="by the name that the run records the metric under")
    log: Mapping[str, tuple[float, ...]] = Field(default={}, description="printed metrics of each epoch, by name")


class ParameterCounts(FrozenModel):
    """Parameter counts, output shapes and sizes of a model, as published or as derived."""

    section: str = Field(default="", description="section of the document")
    parameters: PositiveInt | None = Field(default=None, description="number of parameters")
    trainable_parameters: PositiveInt | None = Field(default=None, description="number of trainable parameters")
    layers: Mapping[str, PositiveInt] = Field(default={}, description="number of parameters, by module path")
    shapes: Mapping[str, tuple[tuple[int, ...], ...]] = Field(
        default={}, description="output shapes without the batch dimension, one per call, by module path"
    )
    megabytes: Mapping[Literal["input", "forward_backward", "parameters", "total"], float] = Field(
        default={}, description="memory for one image, in MiB"
    )


class ModelReference(FrozenModel):
    """What is known about a model beyond its card: published counts, derived counts, and errors in the document."""

    documented: ParameterCounts | None = Field(default=None, description="as published")
    derived: ParameterCounts | None = Field(default=None, description="as they follow from the published architecture")
    errata: Mapping[str, str] = Field(default={}, description="errors in the document, by module path")

    @property
    def given(self) -> tuple[tuple[str, ParameterCounts], ...]:
        """The counts that are known, each with "documented" or "derived"."""
        pairs = (("documented", self.documented), ("derived", self.derived))
        return tuple((kind, counts) for kind, counts in pairs if counts is not None)
