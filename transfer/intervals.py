"""95 % intervals of accuracies that vary with the test images and with the pre-training seed.

In: correctness per seed and test image. Out: means and percentile intervals in percent. Two-stage bootstrap: seeds are
drawn with replacement, then test images, the same images for both sides of a comparison. A single seed leaves the
variation over images alone, and with two or three seeds the interval is too narrow for theirs rather than too wide.
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

    @property
    def excludes_zero(self) -> bool:
        return self.ci95[0] > 0 or self.ci95[1] < 0


def accuracy(correct: Correct, *, seed: int) -> Estimate:
    """Accuracy of `correct` (S, N): S seeds (or settings) on the same N test images."""
    rng = np.random.default_rng([seed, 0])
    (patterns,), weights = _image_weights([correct], rng)
    return _estimate(float(np.mean(correct)), _resampled(patterns, weights, rng))


def difference(a: Correct, b: Correct, *, seed: int) -> Estimate:
    """Accuracy of `a` (S, N) minus that of `b` (S', N) on the same N test images.

    Raises:
        ValueError: the numbers of test images differ.
    """
    return _estimate(float(np.mean(a) - np.mean(b)), _difference_draws(a, b, np.random.default_rng([seed, 1])))


def average_difference(pairs: Sequence[tuple[Correct, Correct]], *, seed: int) -> Estimate:
    """`difference` averaged over tasks of equal weight; tasks are fixed, their images and seeds are resampled."""
    if not pairs:
        raise ValueError("an average over no task")
    rng = np.random.default_rng([seed, 2])
    draws = np.mean([_difference_draws(a, b, rng) for a, b in pairs], axis=0)
    return _estimate(float(np.mean([np.mean(a) - np.mean(b) for a, b in pairs])), draws)


def _difference_draws(a: Correct, b: Correct, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"paired comparison of {a.shape[1]} and {b.shape[1]} test images: they must be the same ones")
    (pattern_a, pattern_b), weights = _image_weights([a, b], rng)
    result: npt.NDArray[np.float64] = _resampled(pattern_a, weights, rng) - _resampled(pattern_b, weights, rng)
    return result


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
    correct: Correct, image_weights: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(draws,) accuracies of resampled seeds on the images that `image_weights` (draws, U) has drawn."""
    seeds = len(correct)
    per_seed = image_weights @ correct.T.astype(np.float64)  # (draws, S)
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    drawn: npt.NDArray[np.float64] = (per_seed * seed_weights).sum(axis=1)
    return drawn


def _estimate(mean: float, draws: npt.NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(100 * mean, (100 * float(low), 100 * float(high)))
