"""95 % intervals of accuracies that vary with the test images and with the pre-training seed.

In: correctness per seed and test image. Out: means and percentile intervals in percent. Two-stage bootstrap: seeds are
drawn with replacement, then test images, the same images for both sides of a comparison. Backbones that stand on both
sides, or behind several tasks, are drawn alike everywhere. A single seed leaves the variation over images alone, and
with two or three seeds the interval is too narrow for theirs rather than too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.floating | np.integer | np.bool_]
DRAWS = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean (or difference of means) in percent with its 95 % interval."""

    mean: float
    ci95: tuple[float, float]
    p_value: float
    """Two-sided, that it is 0: twice the smaller share of the draws on one side of 0."""

    @property
    def excludes_zero(self) -> bool:
        return self.ci95[0] > 0 or self.ci95[1] < 0


def accuracy(correct: Correct, *, seed: int) -> Estimate:
    """Accuracy of `correct` (S, N): S seeds (or settings) on the same N test images."""
    rng = np.random.default_rng([seed, 0])
    (patterns,), weights = _image_weights([correct], rng)
    return _estimate(float(np.mean(correct)), _resampled(patterns, weights, _SeedDraws(rng), ""))


@dataclass(frozen=True)
class Pair:
    """Correctness `a` (S, N) and `b` (S', N) on the same N test images, and which backbones made them.

    Rows with the same name of backbones come from the same ones in the same order, on either side and on any task.
    """

    a: Correct
    b: Correct
    backbones_a: str = "a"
    backbones_b: str = "b"


def difference(pair: Pair, *, seed: int) -> Estimate:
    """Accuracy of `a` minus that of `b`.

    Raises:
        ValueError: the numbers of test images differ, or those of rows under one name of backbones.
    """
    rng = np.random.default_rng([seed, 1])
    return _estimate(_difference(pair), _difference_draws(pair, rng, _SeedDraws(rng)))


def average_difference(pairs: Sequence[Pair], *, seed: int) -> Estimate:
    """`difference` averaged over tasks of equal weight; tasks are fixed, their images and the seeds are resampled."""
    if not pairs:
        raise ValueError("an average over no task")
    rng = np.random.default_rng([seed, 2])
    seeds = _SeedDraws(rng)
    draws = np.mean([_difference_draws(pair, rng, seeds) for pair in pairs], axis=0)
    return _estimate(float(np.mean([_difference(pair) for pair in pairs])), draws)


class _SeedDraws:
    """How often each seed is drawn, for each name of backbones once."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._drawn: dict[str, npt.NDArray[np.float64]] = {}

    def weights(self, backbones: str, count: int) -> npt.NDArray[np.float64]:
        """Shares of `count` seeds. (draws, count)."""
        if backbones not in self._drawn:
            self._drawn[backbones] = self._rng.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
        drawn = self._drawn[backbones]
        if drawn.shape[1] != count:
            raise ValueError(f"backbones {backbones}: {drawn.shape[1]} and {count} rows; one name means the same ones")
        return drawn


def _difference(pair: Pair) -> float:
    return float(np.mean(pair.a) - np.mean(pair.b))


def _difference_draws(pair: Pair, rng: np.random.Generator, seeds: _SeedDraws) -> npt.NDArray[np.float64]:
    a, b = pair.a, pair.b
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"paired comparison of {a.shape[1]} and {b.shape[1]} test images: they must be the same ones")
    (pattern_a, pattern_b), weights = _image_weights([a, b], rng)
    drawn_a = _resampled(pattern_a, weights, seeds, pair.backbones_a)
    return drawn_a - _resampled(pattern_b, weights, seeds, pair.backbones_b)


def _image_weights(
    stacks: Sequence[Correct], rng: np.random.Generator
) -> tuple[list[Correct], npt.NDArray[np.float64]]:
    """Each stack's U distinct columns (S, U), and how often each is drawn, divided by N (draws, U).

    Images that all rows got alike are exchangeable, so one multinomial draw over the few patterns is exact, and its
    size does not grow with the number of images.
    """
    together = np.concatenate([np.asarray(stack, np.float64) for stack in stacks])
    patterns, counts = np.unique(together, axis=1, return_counts=True)
    n = together.shape[1]
    weights: npt.NDArray[np.float64] = rng.multinomial(n, counts / n, size=DRAWS) / n
    return list(np.split(patterns, np.cumsum([len(stack) for stack in stacks])[:-1])), weights


def _resampled(
    correct: Correct, image_weights: npt.NDArray[np.float64], seeds: _SeedDraws, backbones: str
) -> npt.NDArray[np.float64]:
    """(draws,) accuracies of resampled seeds on the images that `image_weights` (draws, U) has drawn."""
    per_seed = image_weights @ correct.T.astype(np.float64)  # (draws, S)
    drawn: npt.NDArray[np.float64] = (per_seed * seeds.weights(backbones, len(correct))).sum(axis=1)
    return drawn


def _estimate(mean: float, draws: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    p_value = min(1.0, 2 * min(float((draws <= 0).mean()), float((draws >= 0).mean())))
    return Estimate(100 * mean, (100 * float(low), 100 * float(high)), p_value)
