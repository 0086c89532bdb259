"""Logistic regression with an L2 penalty, solved by L-BFGS on standardized features.

The objective is `sum_i w_i loss_i / N + strength / 2 * |W|²`, without a penalty on the bias: scikit-learn's
LogisticRegression with C = 1 / (strength * N). With one label per image, the loss is the cross-entropy; with labels
(N, K) of 0 and 1 it is the sum of K binary cross-entropies, which is one regression against the rest for each class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CONSTANT = 1e-6  # a feature whose deviation is below this share of its magnitude is constant up to rounding
RANK = 1e-12  # directions with less than this share of the largest variance are rounding errors
CURVATURE = 0.1  # about the mean of p(1 - p): only the speed depends on it
ITERATIONS = 200  # L-BFGS steps at most
TOLERANCE = 1e-7  # largest entry of the gradient at the end


@dataclass(frozen=True)
class Standardization:
    """The mean (D,) and the reciprocal of the standard deviation (D,) of features; 0 for a constant one."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, rows: Tensor, *, each: bool = True) -> Standardization:
        """Measure rows (N, D); `each` as in `from_moments`."""
        deviation, mean = torch.std_mean(rows.double(), dim=0, correction=0)
        return cls.from_moments(mean, deviation, each=each)

    @classmethod
    def of_chunks(cls, chunks: Iterable[Tensor], *, each: bool = True) -> Standardization:
        """Measure rows that come in chunks (n, D), in constant memory; `each` as in `from_moments`."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:  # Chan's rule for the sum of two parts
            variance, center = torch.var_mean(chunk.double(), dim=0, correction=0)
            total, apart = count + len(chunk), center - mean
            squares = squares + len(chunk) * variance + apart.square() * count * len(chunk) / total
            mean, count = mean + apart * len(chunk) / total, total
        return cls.from_moments(mean, (squares / count).sqrt(), each=each)

    @classmethod
    def from_moments(cls, mean: Tensor, deviation: Tensor, *, each: bool = True) -> Standardization:
        """Take a mean and a standard deviation (D,); with `each` False, scale all features by the same factor."""
        varies = deviation > CONSTANT * mean.abs() + torch.finfo(torch.float32).tiny
        standard = cls(mean, torch.where(varies, 1 / deviation, torch.zeros_like(deviation)))
        return standard if each else standard._with_one_scale()

    def _with_one_scale(self) -> Standardization:
        """Return one whose variances are 1 on average, not each."""
        variances = torch.where(self.scale > 0, self.scale, torch.inf).reciprocal().square()
        factor = variances.mean().clamp(min=torch.finfo(torch.float32).tiny).rsqrt()
        return Standardization(self.mean, torch.where(self.scale > 0, factor, self.scale))

    def apply(self, rows: Tensor) -> Tensor:
        """Return (N, D) float64 with mean 0 and variance 1."""
        return (rows.double() - self.mean) * self.scale

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight (K, D) and bias (K,) that do on plain features what these do on standardized ones."""
        folded = weight * self.scale
        return folded, bias - folded @ self.mean


@dataclass(frozen=True)
class PrincipalRows:
    """Rows (N, R) in the basis of their principal components, R = min(N, D).

    The penalty is the same in every orthonormal basis, so the solution is too. In this one, the objective's curvature
    is nearly diagonal, which is what makes L-BFGS converge in a few steps, and 400 rows of 2,048 features have at most
    400 columns.
    """

    rows: Tensor
    basis: Tensor  # (D, R), orthonormal columns
    variance: Tensor  # (R,), the mean square of each column

    @classmethod
    def of(cls, rows: Tensor) -> PrincipalRows:
        """Rotate standardized rows (N, D) float64."""
        count, width = rows.shape
        wide = width > count
        values, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
        kept = values > RANK * values.max()
        values, vectors = values[kept], vectors[:, kept]
        basis = rows.T @ vectors / values.sqrt() if wide else vectors
        return cls(rows @ basis, basis, values / count)


@dataclass(frozen=True)
class Solution:
    """A weight (K, R) and a bias (K,), in the basis of the rows that they were fitted on."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def zero(cls, classes: int, width: int) -> Solution:
        """Return where the fit starts."""
        return cls(torch.zeros(classes, width, dtype=torch.float64), torch.zeros(classes, dtype=torch.float64))

    def logits(self, rows: Tensor) -> Tensor:
        """Return (N, K) for rows (N, R)."""
        return rows @ self.weight.T + self.bias


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each row (N,) of logits (N, K), for labels (N,) int64 or (N, K) of 0 and 1."""
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, reduction="none")
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(dim=1)


def solve(
    rows: Tensor,
    targets: Tensor,
    weights: Tensor,
    variance: Tensor,
    *,
    strength: float,
    start: Solution,
    tolerance: float = TOLERANCE,
) -> Solution:
    """Minimize the objective over rows (N, R) float64.

    Args:
        rows: standardized features, in a basis in which they are uncorrelated or nearly so.
        targets: (N,) int64, or (N, K) of 0 and 1.
        weights: the weight of each row's loss (N,).
        variance: the mean square of each column (R,), by which the steps are scaled.
        strength: of the penalty, above 0.
        start: where to start; the solution is unique, so only the time depends on it.
        tolerance: the largest entry of the gradient at the end.
    """
    step = (strength + CURVATURE * variance).rsqrt()
    weight, bias = (start.weight / step).requires_grad_(), start.bias.clone().requires_grad_()
    scaled, share = rows * step, weights / len(rows)

    def objective() -> Tensor:
        logits = torch.addmm(bias, scaled, weight.T)
        return (losses_of(logits, targets) * share).sum() + strength / 2 * (weight * step).square().sum()

    minimize(objective, [weight, bias], tolerance)
    return Solution(weight.detach() * step, bias.detach())


def minimize(objective: Callable[[], Tensor], parameters: list[Tensor], tolerance: float = TOLERANCE) -> None:
    """Minimize a function of float64 tensors in place, deterministically."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-3 * tolerance**2,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            value = objective()
            value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the number to divide logits (N, K) by for the smallest mean loss, between 0.05 and 20."""
    logarithm = torch.zeros((), dtype=torch.float64, requires_grad=True)
    minimize(lambda: losses_of(logits / logarithm.exp(), targets).mean(), [logarithm])
    return min(20.0, max(0.05, logarithm.exp().item()))
