"""The lesion study's curves: their 95 % intervals over seeds and test images, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def draw_curves(curves: dict[str, Any], *, num_classes: int, out: Path) -> None:
    """Three panels as SVG: accuracy after deleting each single block, n random blocks and n neighbours.

    Shaded: the 95 % interval.
    """
    from matplotlib.figure import Figure

    from pretrain.checkpoint import write_atomic

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    left, *others = figure.subplots(1, 3, sharey=True)
    for kind, label in (("resnet", "ResNet"), ("plain", "plain net")):
        studies, ci95 = curves[kind]["studies"], curves[kind]["ci95"]
        single = np.mean([study["single"] for study in studies], axis=0)
        blocks = range(1, len(single) + 1)
        left.plot(blocks, single, marker="o", label=label)
        left.fill_between(blocks, *zip(*ci95["single"], strict=True), alpha=0.2)
        full = float(np.mean([study["full"] for study in studies]))
        for axes, key in zip(others, ("random_sets", "sequences"), strict=True):
            means = np.mean([[row["mean"] for row in study[key]] for study in studies], axis=0)
            axes.plot(range(len(means) + 1), [full, *means], marker="o", label=label)
            bounds = zip(*ci95["full"], *ci95[key], strict=True)
            axes.fill_between(range(len(means) + 1), *bounds, alpha=0.2)
    titles = ("One block deleted", "Random blocks deleted", "Neighbouring blocks deleted")
    for axes, title, unit in zip((left, *others), titles, ("block", "blocks deleted", "blocks deleted"), strict=True):
        axes.axhline(100 / num_classes, linestyle=":", color="grey", label="chance")
        axes.set(title=title, xlabel=unit, ylim=(0, 100))
        axes.grid(alpha=0.3)
    left.set_ylabel("test accuracy, %")
    left.legend()
    write_atomic(out, lambda path: figure.savefig(path, format="svg", metadata={"Date": None}))
