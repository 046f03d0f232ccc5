"""Every way to choose settings, on generated reward tables: the numbers of docs/results.md.

    python -P benchmarks/controller.py                   # 20 tables, all methods; minutes on 2 idle cores
    python -P benchmarks/controller.py --preset-seeds 3  # with the original's hyper-parameters as well

The tables: 20 tasks x 256 settings, 12 seen; of the reward's variance 40 % shared main effects, 25 % task-dependent
main effects that the embedding shows, 15 % that it does not, 15 % pairwise (half of it shared), 5 % noise. Shares are
parts of the oracle's gain over random, mean and 95 % interval over tables; differences are paired by table. Every table
is worked on by one thread, so its CPU seconds are what it takes on an idle machine, and the limit is held against them;
the time on the clock, which other work on the machine prolongs, is printed beside them.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from controller import fewshot
from controller import methods as m
from controller.reinforce import ReinforceConfig, task2sim_preset
from controller.replay import METHODS, interval, play, replay, summary
from controller.rewards import RewardTable
from controller.synthetic import Shares, make_table
from controller.trials import FloatArray

SEEN = 12


def generated(seed: int, own_pairs: float, latent: int) -> RewardTable:
    table = make_table(seed, shares=Shares(own_pairs=own_pairs), latent=latent)
    order = np.random.default_rng([seed, 31]).permutation(len(table.tasks))
    tasks = tuple(table.tasks[row] for row in order)
    return RewardTable(tasks, table.space, table.actions, table.rewards[order], table.vectors[order])


def shuffled(table: RewardTable, seed: int) -> RewardTable:
    order = np.random.default_rng([seed, 32]).permutation(len(table.tasks))
    return dataclasses.replace(table, vectors=table.vectors[order])


def variant(table: RewardTable, config: ReinforceConfig) -> dict[str, float]:
    problem = m.Problem(table, table.tasks[:SEEN], table.tasks[SEEN:])
    clock, processor = time.perf_counter(), time.process_time()
    played = play(lambda p, _: m.start_reinforce_with(config, p), [("reinforce", None)], problem, config.seed)
    result = summary("reinforce", problem, [played["reinforce"]])
    return {
        "seen": result["seen"]["share"],
        "unseen": result["unseen"]["share"],
        "asked": result["seen"]["evaluations"],
        "hamming": result["seen"]["hamming"],
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - processor,
    }


@dataclasses.dataclass(frozen=True)
class Measured:
    """One table."""

    shares: dict[str, dict[str, float]]
    """By vectors (true, shuffled) and "method split"."""
    variants: dict[str, dict[str, float]]
    prior_seconds: tuple[float, float]
    """Fitting the few-shot prior, on the clock and of the processor."""
    memory_mb: float


def measure(seed: int, own_pairs: float, latent: int, names: Sequence[str], preset: bool) -> Measured:
    with threadpool_limits(1):
        return measure_on_one_thread(seed, own_pairs, latent, names, preset)


def measure_on_one_thread(seed: int, own_pairs: float, latent: int, names: Sequence[str], preset: bool) -> Measured:
    table = generated(seed, own_pairs, latent)
    seen, unseen = table.tasks[:SEEN], table.tasks[SEEN:]
    shares: dict[str, dict[str, float]] = {"true": {}, "shuffled": {}}
    for kind, one in (("true", table), ("shuffled", shuffled(table, seed))):
        # The searches ask no vector; reinforce is run once, below, together with its variants.
        skipped = ("reinforce",) if kind == "true" else ("reinforce", "tpe", "random_search")
        result = replay(one, seen, unseen, seeds=[seed], names=[n for n in names if not n.startswith(skipped)])
        for name, values in result["methods"].items():
            shares[kind] |= {f"{name} {split}": values[split]["share"] for split in ("seen", "unseen")}
    configs = {
        "reinforce": ReinforceConfig(seed=seed),
        "reinforce, cross-task credit": ReinforceConfig(seed=seed, compat_cross_task_credit=True),
    }
    if preset:
        configs["original"] = task2sim_preset(seed=seed)
        configs["original, cross-task credit"] = task2sim_preset(seed=seed, compat_cross_task_credit=True)
    variants = {name: variant(table, config) for name, config in configs.items()}
    shares["true"] |= {f"reinforce {split}": variants["reinforce"][split] for split in ("seen", "unseen")}
    rows = table.of(seen)
    clock, processor = time.perf_counter(), time.process_time()
    fewshot.fit_prior(rows.rewards, rows.actions, rows.vectors, table.space.sizes)
    took = time.perf_counter() - clock, time.process_time() - processor
    return Measured(shares, variants, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def over(values: Sequence[float]) -> str:
    low, high = interval(np.array(values))
    return f"{100 * np.mean(values):6.2f} ({100 * low:.2f} to {100 * high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="tables")
    parser.add_argument("--preset-seeds", type=int, default=0, help="tables for the original's hyper-parameters")
    parser.add_argument("--own-pairs", type=float, default=0.5, help="part of the pairwise share that is a task's own")
    parser.add_argument("--latent", type=int, default=4, help="dimensions that the embedding shows")
    parser.add_argument("--without", default="", help="methods to leave out, comma-separated (tpe is the slowest)")
    parser.add_argument("--workers", type=int, default=1, help="processes; times are per table in any case")
    options = parser.parse_args()
    left_out = tuple(name for name in options.without.split(",") if name)
    names = [name for name in METHODS if not name.startswith(left_out)] if left_out else list(METHODS)

    shares: dict[str, dict[str, list[float]]] = {"true": {}, "shuffled": {}}
    variants: dict[str, list[dict[str, float]]] = {}
    times: list[tuple[float, float]] = []
    memory = 0.0
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        jobs = [
            pool.submit(measure, seed, options.own_pairs, options.latent, names, seed < options.preset_seeds)
            for seed in range(options.seeds)
        ]
        for number, job in enumerate(jobs, start=1):
            one = job.result()
            for kind, values in one.shares.items():
                for name, value in values.items():
                    shares[kind].setdefault(name, []).append(value)
            for name, run in one.variants.items():
                variants.setdefault(name, []).append(run)
            times += [(run["seconds"], run["cpu_seconds"]) for run in one.variants.values()] + [one.prior_seconds]
            memory = max(memory, one.memory_mb)
            print(f"table {number} of {options.seeds}", file=sys.stderr, flush=True)

    print(f"\nshare of the oracle's gain over random, percent, {options.seeds} tables")
    print(f"{'method':18}{'seen':>26}{'unseen':>26}{'unseen, shuffled vectors':>28}")
    for name in names:
        cells = [over(shares["true"][f"{name} {split}"]) for split in ("seen", "unseen")]
        mixed = shares["shuffled"].get(f"{name} unseen")
        print(f"{name:18}{cells[0]:>26}{cells[1]:>26}{over(mixed) if mixed else '':>28}")
    print("\nreinforce on the seen tasks")
    for name, results in variants.items():
        asked, hamming = (np.mean([run[key] for run in results]) for key in ("asked", "hamming"))
        print(
            f"{name:30}{over([run['seen'] for run in results]):>26}, asked {asked:.1f} of 256 per task, "
            f"choices differ in {hamming:.2f} parameters, "
            f"{np.mean([run['cpu_seconds'] for run in results]):.1f} CPU seconds, {len(results)} tables"
        )

    def gap(kind: str, one: str, other: str) -> FloatArray:
        return np.subtract(shares[kind][f"{one} unseen"], shares["true"][f"{other} unseen"], dtype=np.float64)

    reached: list[tuple[str, bool, str]] = []
    value = float(np.mean([run["seen"] for run in variants["reinforce"]]))
    reached.append(("reinforce on seen tasks, at least 98", bool(value >= 0.98), f"{100 * value:.2f}"))
    wrong = np.mean([run["seen"] for run in variants["reinforce, cross-task credit"]])
    reached.append(("... with cross-task credit, at least 5 less", bool(wrong < value - 0.05), f"{100 * wrong:.2f}"))
    for count in (16, 32):
        if f"random_search_{count}" in names:
            difference = gap("true", "few_shot_8", f"random_search_{count}")
            low = interval(difference)[0]
            reached.append((f"few_shot_8 minus random_search_{count}, above 0", low > 0, over(difference.tolist())))
    value = float(np.mean(shares["true"]["few_shot_32 unseen"]))
    reached.append(("few_shot_32 on unseen tasks, at least 99", bool(value >= 0.99), f"{100 * value:.2f}"))
    for kind in ("true", "shuffled"):
        for count in (0, 8, 32):
            difference = gap(kind, f"few_shot_{count}", "best_fixed")
            label = f"few_shot_{count} minus best_fixed, {kind} vectors, not below 0"
            reached.append((label, interval(difference)[1] >= 0, over(difference.tolist())))
    wall, slowest = max(times, key=lambda pair: pair[1])
    said = f"{slowest:.1f} CPU seconds, {wall:.1f} s on the clock"
    reached.append(("training on one table, under 60 s, the slowest of all", slowest < 60, said))
    reached.append(("peak memory, under 500 MB", memory < 500, f"{memory:.0f} MB"))
    print()
    for label, good, text in reached:
        print(f"{'reached' if good else 'MISSED ':8} {label}: {text}")
    means = {kind: {name: float(np.mean(values)) for name, values in rows.items()} for kind, rows in shares.items()}
    print(json.dumps({"shares": means, "reached": {label: good for label, good, _ in reached}}))


if __name__ == "__main__":
    main()
