"""The lesion study: what happens to a trained network when residual blocks are deleted or shuffled at test time.

Source: Veit, Wilber, Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NeurIPS
2016, section 4, the observation that BlockDrop starts from. A ResNet barely notices the loss of one block; a plain
net of the same layers falls to chance. Deviations: 1. the plain net is the ResNet without its shortcuts (theirs:
VGG), so that depth and parameters are equal; 2. one unit of deletion is a block of two convolutions in both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from transfer.pathways.baselines import FineTuning
from transfer.pathways.config import LesionConfig
from transfer.pathways.executors import SkipUnit, StaticPlan
from transfer.pathways.learning import Diverged, Schedule, fit
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import Block, GatedResNet, build_gated_resnet
from transfer.splits import validation_mask

if TYPE_CHECKING:
    from transfer.data import Task

Progress = Callable[[int, int, str], None]


def accuracy(features: nn.Module, head: nn.Linear, pixels: Pixels, *, device: str = "cpu") -> float:
    """Percent of centre crops classified correctly by head(features(x)) in eval mode."""
    features.eval()
    right = 0
    with torch.no_grad():
        for rows, images in pixels.in_order(256):
            answers = head(features(images.to(device))).argmax(1).cpu()
            right += int((answers == pixels.labels[rows]).sum())
    return 100 * right / len(pixels)


def without_blocks(network: GatedResNet, removed: Sequence[int]) -> StaticPlan:
    """The network without these blocks; where the shape changes, the shortcut alone stays."""
    units = [SkipUnit(block) for block in network.blocks if isinstance(block, Block)]
    return StaticPlan(network, units, [int(index not in removed) for index in range(len(units))])


def with_order(network: GatedResNet, order: Sequence[int]) -> nn.Sequential:
    """The network with its blocks in another order; blocks may only change places with blocks of the same shape.

    Raises:
        ValueError: no permutation, or a block that would meet another shape.
    """
    if sorted(order) != list(range(network.num_blocks)):
        raise ValueError(f"{list(order)} is no order of {network.num_blocks} blocks")
    groups = {index: number for number, group in enumerate(swappable(network)) for index in group}
    for place, index in enumerate(order):
        if place != index and (place not in groups or groups[place] != groups.get(index)):
            raise ValueError(f"block {index} does not fit at place {place}")
    return nn.Sequential(network.stem, *(network.blocks[index] for index in order), network.tail)


def swappable(network: GatedResNet) -> list[list[int]]:
    """Groups of blocks that keep the shape and share it, one group per stage."""
    groups, start = [], 0
    for depth in network.stages:
        stage = range(start, start + depth)
        groups.append([i for i in stage if isinstance(network.blocks[i], Block) and network.blocks[i].keeps_shape])
        start += depth
    return groups


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's rank correlation of an order with 0, 1, 2, ...: 1 unchanged, -1 reversed."""
    count = len(order)
    pairs = [(order[i] < order[j]) for i in range(count) for j in range(i + 1, count)]
    return 2 * sum(pairs) / len(pairs) - 1


def lesion_study(
    network: GatedResNet,
    pixels: Pixels,
    *,
    draws: int,
    seed: int,
    device: str = "cpu",
    tick: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Accuracy (percent) under every kind of lesion.

    Returns:
        full; single: per deleted block; random_sets: per number of deleted blocks, mean and std over random sets;
        sequences: the same over runs of neighbours; shuffles: per number of swaps within a stage, mean, std and mean
        Kendall tau.
    """
    rng = np.random.default_rng([seed, network.num_blocks])
    blocks = network.num_blocks

    def score(features: nn.Module, note: str) -> float:
        if tick is not None:
            tick(note)
        return accuracy(features, network.head, pixels, device=device)

    def deleted(sets: Sequence[Sequence[int]], note: str) -> dict[str, Any]:
        scores = [score(without_blocks(network, removed), note) for removed in sets]
        return {"removed": len(sets[0]), "mean": float(np.mean(scores)), "std": float(np.std(scores))}

    single = [score(without_blocks(network, [index]), f"without block {index}") for index in range(blocks)]
    random_sets, sequences = [], []
    for count in range(1, blocks):
        sets = [sorted(rng.permutation(blocks)[:count].tolist()) for _ in range(draws)]
        random_sets.append(deleted(sets, f"{count} random blocks deleted"))
        starts = np.unique(np.linspace(0, blocks - count, draws).round().astype(int)).tolist()
        runs = [list(range(start, start + count)) for start in starts]
        sequences.append(deleted(runs, f"{count} neighbours deleted"))
    pairs = [(i, j) for group in swappable(network) for i in group for j in group if i < j]
    shuffles = []
    for swaps in sorted({1, 2, 4, 8, 16, blocks}) if pairs else []:
        scores, taus = [], []
        for _ in range(draws):
            order = list(range(blocks))
            for pair in rng.integers(0, len(pairs), swaps).tolist():
                i, j = pairs[pair]
                order[i], order[j] = order[j], order[i]
            scores.append(score(with_order(network, order), f"{swaps} swaps"))
            taus.append(kendall_tau(order))
        mean, std = float(np.mean(scores)), float(np.std(scores))
        shuffles.append({"swaps": swaps, "mean": mean, "std": std, "kendall_tau": float(np.mean(taus))})
    return {
        "full": score(without_blocks(network, []), "all blocks"),
        "single": single,
        "random_sets": random_sets,
        "sequences": sequences,
        "shuffles": shuffles,
    }


def lesion_stage(
    config: LesionConfig, task: Task, *, out: Path, device: str = "cpu", progress: Progress | None = None
) -> dict[str, Any]:
    """Train a ResNet and a plain net per seed (learning rate chosen on validation images), then hurt both.

    Leaves lesion.json (all curves, per kind and seed) and lesion.svg in `out`; both are also the summary's content.
    """
    threads = max(1, torch.get_num_threads())
    train = load_pixels(task.train, size=config.size, threads=threads)
    test = load_pixels(task.test, size=config.size, threads=threads)
    held_out = validation_mask(
        train.labels.numpy(), fraction=config.validation, seed=config.split_seed, groups=train.images.groups
    )
    parts = train.select(np.flatnonzero(~held_out)), train.select(np.flatnonzero(held_out))
    runs = 2 * (len(config.learning_rates) + len(config.seeds))
    steps = 0

    def tick(note: str) -> None:
        nonlocal steps
        steps += 1
        if progress is not None:
            total = runs * config.epochs * -(-len(train) // config.batch_size)
            progress(min(steps, total), total, f"lesion study: {note}")

    def trained(plain: bool, rate: float, pixels: Pixels, seed: int) -> GatedResNet:
        network = build_gated_resnet(config.arch, num_classes=len(task.classes), seed=seed, plain=plain)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learner = FineTuning(network, config, learning_rate=rate)
        checkpoint = out / "runs" / f"{'plain' if plain else 'resnet'}-{rate:g}-{seed}-{len(pixels)}.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        schedule = Schedule(
            config.epochs, config.batch_size, config.milestones, augment=config.augment, precision=config.precision
        )
        fit(learner, pixels, schedule, seed=seed, device=device, checkpoint=checkpoint, tick=tick)
        return network

    curves: dict[str, Any] = {}
    for kind in ("resnet", "plain"):
        plain = kind == "plain"
        validation = {}
        for rate in config.learning_rates:
            try:
                network = trained(plain, rate, parts[0], config.seeds[0])
            except Diverged:
                validation[rate] = 0.0  # a plain net may diverge where a ResNet does not
                continue
            validation[rate] = accuracy(without_blocks(network, []), network.head, parts[1], device=device)
        best = max(validation, key=lambda rate: validation[rate])
        studies = [
            lesion_study(
                trained(plain, best, train, seed), test, draws=config.draws, seed=seed, device=device, tick=tick
            )
            for seed in config.seeds
        ]
        curves[kind] = {"learning_rate": best, "studies": studies}
    from pretrain.checkpoint import write_atomic

    text = json.dumps({"arch": config.arch, "classes": len(task.classes), **curves}, indent=1)
    write_atomic(out / "lesion.json", lambda path: path.write_text(text, encoding="utf-8"))
    draw_curves(curves, num_classes=len(task.classes), out=out / "lesion.svg")
    summary: dict[str, Any] = {"metric": "accuracy", "n_train": len(train), "n_test": len(test)}
    for kind in ("resnet", "plain"):
        found = curves[kind]["studies"]
        summary[kind] = {
            "learning_rate": curves[kind]["learning_rate"],
            "full": float(np.mean([study["full"] for study in found])),
            "one_block_deleted": float(np.mean([study["single"] for study in found])),
        }
    return {**summary, "score": summary["resnet"]["full"], "seeds": list(config.seeds)}


def draw_curves(curves: dict[str, Any], *, num_classes: int, out: Path) -> None:
    """Three panels as SVG: accuracy after deleting each single block, n random blocks and n neighbours."""
    from matplotlib.figure import Figure

    from pretrain.checkpoint import write_atomic

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    left, *others = figure.subplots(1, 3, sharey=True)
    for kind, label in (("resnet", "ResNet"), ("plain", "plain net")):
        studies = curves[kind]["studies"]
        single = np.mean([study["single"] for study in studies], axis=0)
        left.plot(range(1, len(single) + 1), single, marker="o", label=label)
        full = float(np.mean([study["full"] for study in studies]))
        for axes, key in zip(others, ("random_sets", "sequences"), strict=True):
            means = np.mean([[row["mean"] for row in study[key]] for study in studies], axis=0)
            axes.plot(range(len(means) + 1), [full, *means], marker="o", label=label)
    titles = ("One block deleted", "Random blocks deleted", "Neighbouring blocks deleted")
    for axes, title, unit in zip((left, *others), titles, ("block", "blocks deleted", "blocks deleted"), strict=True):
        axes.axhline(100 / num_classes, linestyle=":", color="grey", label="chance")
        axes.set(title=title, xlabel=unit, ylim=(0, 100))
        axes.grid(alpha=0.3)
    left.set_ylabel("test accuracy, %")
    left.legend()
    write_atomic(out, lambda path: figure.savefig(path, format="svg", metadata={"Date": None}))
