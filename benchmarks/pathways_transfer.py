"""SpotTune and BlockDrop against their baselines on small real tasks: accuracy over three seeds, FLOPs, paired
intervals.

    python -P benchmarks/pathways_transfer.py --backbone BACKBONE.safetensors --out results/pathways

BlockDrop takes longest. With a ResNet-18 at 64 px one busy core makes an update of its curriculum (64 images) in 0.9 s
and one of its joint stage (16 images) in 0.9 s; every penalty has a joint stage of its own on the training images that
are not held out, every seed one more on all of them. --methods and --tasks choose parts, --jobs trains several (task,
method) pairs at once, each in a process with --threads threads. Every finished pair stays in --out/<task>/<method>:
run it again and only what is missing is done. The tables go to stdout and, as CSV, to --out/pathways.csv; `simpath
report --out` makes a page with pictures of it. (-P: or else benchmarks/transfer.py hides the package `transfer`.)

Promised: SpotTune at least as good as standard fine-tuning within the interval on average and better than feature
extraction; BlockDrop within 1 point of the full network at 20 % or more FLOPs saved. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data import Task
from transfer.intervals import Estimate, Pair, average_difference
from transfer.pathways.config import METHODS, BlockDropConfig, PathwayConfig, SpotTuneConfig
from transfer.pathways.stage import train_pathway
from transfer.tasks import load_task

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "downstream"
TASKS = ("eurosat", "plantvillage_tomato", "tuberlin_sketch", "ambientcg_materials")
METHOD_NAMES = ("feature_extractor", "standard", "spottune", "blockdrop")


def configured(name: str, arguments: argparse.Namespace) -> PathwayConfig:
    """Small-scale settings: few hundred training images, so small batches, no weight decay search, short schedules."""
    shared: dict[str, Any] = {
        "size": arguments.size,
        "epochs": arguments.epochs,
        "batch_size": 16,
        "learning_rates": (0.02, 0.005),
        "milestones": (0.6, 0.85),
        "augment": "crop_flip",
        "precision": arguments.precision,
        "seeds": tuple(range(arguments.seeds)),
    }
    kind = METHODS[name]
    if issubclass(kind, BlockDropConfig):
        shared |= {
            "curriculum_updates": arguments.curriculum_updates,
            "curriculum_penalty": arguments.curriculum_penalty,
            "policy_batch_size": arguments.policy_batch_size,
            "joint_updates": arguments.joint_updates,
            "penalties": tuple(float(penalty) for penalty in arguments.penalties.split(",")),
            "policy_shrink": 4,  # at 64 px 5 % of a ResNet-18's FLOPs, with 2 it is 12 %
        }
    elif issubclass(kind, SpotTuneConfig):
        shared |= {"policy_learning_rate": 0.1}
    return kind(**shared)


def run_pair(task_name: str, name: str, arguments: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """Summary of one method on one task, and the seconds that it took."""
    began = time.monotonic()
    task = first_images(load_task(arguments.data / task_name), arguments.images)
    summary = train_pathway(
        configured(name, arguments),
        arguments.backbone,
        task,
        out=arguments.out / task_name / name,
        device=arguments.device,
        threads=arguments.threads,
    )
    return summary, time.monotonic() - began


def run_pairs(
    pairs: list[tuple[str, str]], arguments: argparse.Namespace
) -> Iterator[tuple[str, str, dict[str, Any], float]]:
    """All pairs as they end: in this process, or in `--jobs` fresh ones."""
    if arguments.jobs == 1:
        for task_name, name in pairs:
            yield (task_name, name, *run_pair(task_name, name, arguments))
        return
    # Fresh processes: torch's threads and CUDA do not survive a fork.
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run_pair, *pair, arguments): pair for pair in pairs}
        try:
            for done in as_completed(running):
                yield (*running[done], *done.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # after a failure the pairs under way end, no other begins


def first_images(task: Task, count: int | None) -> Task:
    """The task cut to `count` random training and test images (for trying the command), or as it is."""
    if count is None:
        return task
    parts = {}
    for name in ("train", "test"):
        images = getattr(task, name)
        chosen = np.random.default_rng([0, len(images)]).permutation(len(images))[:count]
        parts[name] = images.select(np.sort(chosen))
    return dataclasses.replace(task, **parts)


def pair(task: Path, one: tuple[str, str], other: tuple[str, str]) -> Pair:
    """Correctness (S, N) of two methods on one task, each named by its folder and its key; one folder, one training."""
    from safetensors.numpy import load_file

    a, b = (load_file(task / folder / "predictions.safetensors")[key] for folder, key in (one, other))
    return Pair(a, b, f"{task.name}/{one[0]}", f"{task.name}/{other[0]}")


def spread(scores: list[float]) -> float:
    """Standard deviation over seeds, 0 of a single one."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0


def report(results: dict[tuple[str, str], dict[str, Any]], arguments: argparse.Namespace) -> bool:
    """Print the tables; True if what was promised holds for everything that was run."""
    tasks = [task for task in arguments.tasks if any(key[0] == task for key in results)]
    methods = [name for name in arguments.methods if all((task, name) in results for task in tasks)]
    print("\n| task | " + " | ".join(methods) + " |\n|---|" + "---|" * len(methods))
    for task in tasks:
        cells = [f"{results[task, n]['score']:.1f} ±{spread(results[task, n]['scores']):.1f}" for n in methods]
        print(f"| {task} | " + " | ".join(cells) + " |")
    print("| mean | " + " | ".join(f"{np.mean([results[t, n]['score'] for t in tasks]):.1f}" for n in methods) + " |")
    holds = True

    def line(name: str, one: tuple[str, str], other: tuple[str, str]) -> Estimate:
        found = average_difference([pair(arguments.out / task, one, other) for task in tasks], seed=0)
        print(f"{name}: {found.mean:+.2f} points, 95 % interval {found.ci95[0]:+.2f} to {found.ci95[1]:+.2f}")
        return found

    print()
    spottune, blockdrop = ("spottune", "correct"), ("blockdrop", "correct")
    if {"spottune", "standard"} <= set(methods):
        holds &= line("SpotTune - standard fine-tuning", spottune, ("standard", "correct")).ci95[1] >= 0
    if {"spottune", "feature_extractor"} <= set(methods):
        holds &= line("SpotTune - feature extractor", spottune, ("feature_extractor", "correct")).mean > 0
    if "spottune" in methods:
        line("SpotTune - its fine-tuned blocks only", spottune, ("spottune", "correct.all_tuned"))
    if "blockdrop" in methods:
        for other in ("full", "first_k", "random_k", "dist_k"):
            found = line(f"BlockDrop - {other}", blockdrop, ("blockdrop", f"correct.{other}"))
            holds &= other != "full" or found.mean >= -1.0
        rows = [row for task in tasks for row in results[task, "blockdrop"]["per_seed"]]
        saved, total = (
            100 * (1 - float(np.mean([row[key] / row["flops_plain"] for row in rows])))
            for key in ("flops_network", "flops_total")
        )
        print(f"BlockDrop: {saved:.1f} % of the network's FLOPs saved, {total:.1f} % with the policy network counted")
        holds &= saved >= 20
    with (arguments.out / "pathways.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["task", "method", "score", "ci95_low", "ci95_high", "seed_scores", "flops_network", "flops_total"]
        )
        for (task, name), row in results.items():
            flops = [
                float(np.mean([seed[key] for seed in row["per_seed"]])) for key in ("flops_network", "flops_total")
            ]
            scores = " ".join(f"{score:.2f}" for score in row["scores"])
            writer.writerow([task, name, f"{row['score']:.2f}", *(f"{end:.2f}" for end in row["ci95"]), scores, *flops])
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", required=True, help="FILE, random:resnet18 or torchvision:resnet18")
    parser.add_argument("--out", type=Path, default=Path("results/pathways"))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the tasks")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=list(TASKS))
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHOD_NAMES))
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--curriculum-updates", type=int, default=300, help="of BlockDrop")
    parser.add_argument("--curriculum-penalty", type=float, default=1.0, help="of BlockDrop")
    parser.add_argument("--joint-updates", type=int, default=400, help="of BlockDrop")
    parser.add_argument("--penalties", default="1,2,5,10", help="candidates of BlockDrop's joint stage")
    parser.add_argument("--policy-batch-size", type=int, default=64, help="of BlockDrop's curriculum")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, help="only so many images per split, for trying the command")
    parser.add_argument("--jobs", type=int, default=1, help="(task, method) pairs that train at once")
    parser.add_argument("--threads", type=int, default=2, help="of each job")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    unknown = set(arguments.methods) - set(METHODS)
    if unknown:
        parser.error(f"unknown methods {', '.join(sorted(unknown))}; allowed: {', '.join(METHODS)}")
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; allowed: at least 1")
    pairs = [(task_name, name) for task_name in arguments.tasks for name in arguments.methods]
    found = {}
    for task_name, name, summary, seconds in run_pairs(pairs, arguments):
        found[task_name, name] = summary
        print(
            f"{task_name} {name}: {summary['score']:.1f} % ({', '.join(f'{s:.1f}' for s in summary['scores'])}),"
            f" chosen {summary['chosen']}, {seconds:.0f} s",
            flush=True,
        )
    results = {pair: found[pair] for pair in pairs}
    return 0 if report(results, arguments) else 1


if __name__ == "__main__":
    sys.exit(main())
