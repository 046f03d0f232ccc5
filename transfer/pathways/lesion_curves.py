"""The lesion study's curves: their 95 % intervals over seeds and test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 1000
KINDS = ("full", "single", "random_sets", "sequences", "shuffles")


def curve_intervals(correct: Sequence[dict[str, np.ndarray]], *, seed: int) -> dict[str, list[list[float]]]:
    """[low, high] in percent of every point of every curve: two-stage bootstrap, seeds first, then test images.

    All points share their draws, so the intervals of one curve move together.

    Args:
        correct: per seed, curve -> (points, N) shares of the lesions at this point under which an image is right.
        seed: of the draws.
    """
    sizes = {kind: len(correct[0][kind]) for kind in KINDS}
    points = np.stack([np.concatenate([own[kind] for kind in KINDS if sizes[kind]]) for own in correct])  # (S, P, N)
    seeds, _, images = points.shape
    rng = np.random.default_rng([seed, 3])
    drawn = np.empty((DRAWS, points.shape[1]))
    for row in drawn:
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds))
        of_images = rng.multinomial(images, np.full(images, 1 / images))
        row[:] = of_seeds @ (points @ of_images) / (seeds * images)
    bounds = (100 * np.percentile(drawn, [2.5, 97.5], axis=0).T).tolist()  # (P, 2)
    found, start = {}, 0
    for kind in KINDS:
        found[kind] = bounds[start : start + sizes[kind]]
        start += sizes[kind]
    return found
