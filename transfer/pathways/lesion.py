"""The lesion study: what happens to a trained network when residual blocks are deleted or shuffled at test time.

Source: Veit, Wilber, Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NeurIPS
2016, section 4, the observation that BlockDrop starts from. A ResNet barely notices the loss of one block; a plain
net of the same layers falls to chance. Deviations: 1. the plain net is the ResNet without its shortcuts (theirs:
VGG), so that depth and parameters are equal; 2. one unit of deletion is a block of two convolutions in both.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from transfer.images import IMAGENET_MEAN, IMAGENET_STD
from transfer.pathways.baselines import FineTuning
from transfer.pathways.config import LesionConfig
from transfer.pathways.executors import StaticPlan, skip_units
from transfer.pathways.learning import Diverged, Schedule, fit
from transfer.pathways.lesion_curves import curve_intervals
from transfer.pathways.parts import Progress, decode_part, final_part, training_part
from transfer.pathways.pixels import Pixels
from transfer.pathways.resnet import ARCHITECTURES, Block, GatedResNet, build_gated_resnet

if TYPE_CHECKING:
    from transfer.data import ImageSet, Task

OWN_NETWORKS = "the lesion study trained networks of its own, the backbone was not looked at"
"""Note of every study."""


def is_right(features: nn.Module, head: nn.Linear, pixels: Pixels, *, device: str = "cpu") -> np.ndarray:
    """Whether head(features(x)) classifies the evaluation view of each image correctly, in eval mode. (N,) bool."""
    features.eval()
    with torch.no_grad():
        answers = [head(features(images.to(device))).argmax(1).cpu() for _, images in pixels.in_order(256)]
    right: np.ndarray = (torch.cat(answers) == pixels.labels).numpy()
    return right


def accuracy(features: nn.Module, head: nn.Linear, pixels: Pixels, *, device: str = "cpu") -> float:
    """Percent of the images that `is_right` finds right."""
    return 100 * float(is_right(features, head, pixels, device=device).mean())


def without_blocks(network: GatedResNet, removed: Sequence[int]) -> StaticPlan:
    """The network without these blocks; where the shape changes, the shortcut alone stays."""
    units = skip_units(network)
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


def sets_of_blocks(blocks: int, count: int, draws: int, rng: np.random.Generator) -> list[list[int]]:
    """`draws` random sets of so many blocks, or all there are if they are no more."""
    if math.comb(blocks, count) <= draws:
        return [list(chosen) for chosen in itertools.combinations(range(blocks), count)]
    return [sorted(rng.permutation(blocks)[:count].tolist()) for _ in range(draws)]


def runs_of_blocks(blocks: int, count: int, draws: int) -> list[list[int]]:
    """Runs of so many neighbours, at most `draws` of them, their starts spread evenly."""
    starts = np.unique(np.linspace(0, blocks - count, draws).round().astype(int)).tolist()
    return [list(range(start, start + count)) for start in starts]


def swap_counts(blocks: int) -> list[int]:
    """How many swaps the shuffles of a study make."""
    return sorted({1, 2, 4, 8, 16, blocks})


def count_lesions(blocks: int, draws: int) -> int:
    """Networks that a study tests, the whole one included, where blocks can be swapped."""
    deleted = sum(
        min(math.comb(blocks, count), draws) + len(runs_of_blocks(blocks, count, draws)) for count in range(1, blocks)
    )
    return 1 + blocks + deleted + draws * len(swap_counts(blocks))


def lesion_study(
    network: GatedResNet,
    pixels: Pixels,
    *,
    draws: int,
    seed: int,
    device: str = "cpu",
    tick: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Accuracy (percent) under every kind of lesion.

    Returns:
        full; single: per deleted block; random_sets: per number of deleted blocks, mean and std over sets (all sets
        where they are no more than `draws`); sequences: the same over runs of neighbours; shuffles: per number of
        swaps within a stage, mean, std and mean Kendall tau. Beside it, by the same names, for every point of a curve
        and every image the share of lesions under which it is right, (points, N).
    """
    rng = np.random.default_rng([seed, network.num_blocks])
    blocks = network.num_blocks
    right: dict[str, list[np.ndarray]] = {
        kind: [] for kind in ("full", "single", "random_sets", "sequences", "shuffles")
    }

    def measure(kind: str, lesions: Sequence[nn.Module], note: str) -> dict[str, float]:
        found = []
        for features in lesions:
            if tick is not None:
                tick(note)
            found.append(is_right(features, network.head, pixels, device=device))
        right[kind].append(np.mean(found, axis=0))
        scores = 100 * np.mean(found, axis=1)
        return {"mean": float(scores.mean()), "std": float(scores.std())}

    def deleted(kind: str, sets: Sequence[Sequence[int]], note: str) -> dict[str, Any]:
        return {"removed": len(sets[0]), **measure(kind, [without_blocks(network, removed) for removed in sets], note)}

    single = [deleted("single", [[index]], f"without block {index}")["mean"] for index in range(blocks)]
    random_sets, sequences = [], []
    for count in range(1, blocks):
        sets = sets_of_blocks(blocks, count, draws, rng)
        random_sets.append(deleted("random_sets", sets, f"{count} random blocks deleted"))
        sequences.append(deleted("sequences", runs_of_blocks(blocks, count, draws), f"{count} neighbours deleted"))
    pairs = [(i, j) for group in swappable(network) for i in group for j in group if i < j]
    shuffles = []
    for swaps in swap_counts(blocks) if pairs else []:
        orders = []
        for _ in range(draws):
            order = list(range(blocks))
            for pair in rng.integers(0, len(pairs), swaps).tolist():
                i, j = pairs[pair]
                order[i], order[j] = order[j], order[i]
            orders.append(order)
        found = measure("shuffles", [with_order(network, order) for order in orders], f"{swaps} swaps")
        tau = float(np.mean([kendall_tau(order) for order in orders]))
        shuffles.append({"swaps": swaps, **found, "kendall_tau": tau})
    study = {
        "full": measure("full", [without_blocks(network, [])], "all blocks")["mean"],
        "single": single,
        "random_sets": random_sets,
        "sequences": sequences,
        "shuffles": shuffles,
    }
    return study, {kind: np.array(rows).reshape(len(rows), len(pixels)) for kind, rows in right.items()}


def lesion_stage(
    config: LesionConfig, task: Task, *, out: Path, device: str = "cpu", progress: Progress | None = None
) -> dict[str, Any]:
    """Train a ResNet and a plain net per seed (learning rate chosen on validation images), then hurt both.

    Leaves lesion.json in `out`: all curves, per kind and seed, with their intervals over seeds and test images.
    """

    def decode(images: ImageSet, part: str) -> Pixels:
        note = f"{part} images of {task.name}"
        return decode_part(config, images, mean=IMAGENET_MEAN, std=IMAGENET_STD, note=note, progress=progress)

    train, val_rows = training_part(config, task, decode)
    test = decode(task.test, "test")
    fit_rows = np.setdiff1d(np.arange(len(train)), val_rows)
    parts = train.select(fit_rows), train.select(val_rows)
    final = final_part(config, train, val_rows)
    schedule = Schedule(
        config.epochs, config.batch_size, config.milestones, augment=config.augment, precision=config.precision
    )
    chosen_on, rates, seeds = len(parts[0]), len(config.learning_rates), len(config.seeds)
    again = seeds - (config.train_splits == "train")  # then the first seed's network is the one that was chosen
    training = config.epochs * (rates * schedule.steps(chosen_on) + again * schedule.steps(len(final)))
    lesions = seeds * count_lesions(sum(ARCHITECTURES[config.arch].depths), config.draws)
    done, total = 0, 2 * (training + lesions)

    def tick(note: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, f"lesion study: {note}")

    def trained(plain: bool, rate: float, pixels: Pixels, seed: int) -> GatedResNet:
        network = build_gated_resnet(config.arch, num_classes=len(task.classes), seed=seed, plain=plain)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        learner = FineTuning(network, config, learning_rate=rate)
        checkpoint = out / "runs" / f"{'plain' if plain else 'resnet'}-{rate:g}-{seed}-{len(pixels)}.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        fit(learner, pixels, schedule, seed=seed, device=device, checkpoint=checkpoint, tick=tick)
        return network

    def hurt(plain: bool, rate: float, seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        network = trained(plain, rate, final, seed)
        return lesion_study(network, test, draws=config.draws, seed=seed, device=device, tick=tick)

    curves: dict[str, Any] = {}
    notes = [*task.notes, OWN_NETWORKS]
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
        for rate in sorted(validation, key=lambda rate: validation[rate], reverse=True):
            try:
                studies, correct = zip(*(hurt(plain, rate, seed) for seed in config.seeds), strict=True)
            except Diverged:
                notes.append(
                    f"{kind}: diverged at learning rate {rate:g} on all training images; the next best was taken"
                )
                continue
            ci95 = curve_intervals(correct, seed=0)
            curves[kind] = {"learning_rate": rate, "studies": list(studies), "ci95": ci95}
            break
        else:
            tried = ", ".join(f"{rate:g}" for rate in config.learning_rates)
            raise Diverged(f"{kind}: training diverged at every learning rate ({tried}); give smaller ones")
    from pretrain.checkpoint import write_atomic

    text = json.dumps({"arch": config.arch, "classes": len(task.classes), **curves}, indent=1)
    write_atomic(out / "lesion.json", lambda path: path.write_text(text, encoding="utf-8"))
    summary: dict[str, Any] = {
        "metric": "accuracy",
        "n_train": len(final),
        "n_validation": len(val_rows),
        "n_test": len(test),
        "skipped": [*train.skipped, *test.skipped],
        "notes": notes,
    }
    for kind in ("resnet", "plain"):
        found = curves[kind]["studies"]
        summary[kind] = {
            "learning_rate": curves[kind]["learning_rate"],
            "full": float(np.mean([study["full"] for study in found])),
            "ci95": curves[kind]["ci95"]["full"][0],
            "one_block_deleted": float(np.mean([study["single"] for study in found])),
        }
    return {
        **summary,
        "score": summary["resnet"]["full"],
        "ci95": summary["resnet"]["ci95"],
        "seeds": list(config.seeds),
    }
