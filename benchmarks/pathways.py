"""Time of routed inference against the plain network: SpotTune, BlockDrop, and masked execution as the contrast.

    python -P benchmarks/pathways.py            # about 5 minutes of one core; exit status 1 if a promised ratio fails
    python -P benchmarks/pathways.py --full     # all batch sizes, keep rates and numbers of distinct policies

(-P: or else benchmarks/transfer.py hides the package `transfer`.)

Both sides run in one process on one thread, turn by turn; the ratio of each turn is taken and the median of the turns
counts, so that a neighbour's load hits both sides. Time is the thread's CPU time (wall time is printed beside it).
Networks are ResNet-50 with random weights in eval mode, batch norms folded into the convolutions on *all* sides,
channels last (the faster layout for the plain network). The plain network is PyTorch's; the limits are for routed
execution as `transfer.pathways.inference` prepares it, and beside them stand routed execution without that, the plain
network with it, and the ratio of the two that have it (of their medians). The ratios leave the policy network out;
"total" adds its own measured time.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.memory import freed_memory_is_kept
from transfer.pathways.config import BlockDropConfig, SpotTuneConfig
from transfer.pathways.cost import module_flops, network_cost
from transfer.pathways.executors import (
    Unit,
    choice_units,
    run_grouped,
    run_masked,
    run_subbatch,
    skip_units,
)
from transfer.pathways.inference import pack_for_inference
from transfer.pathways.methods import Setting
from transfer.pathways.resnet import (
    GatedResNet,
    PolicyNetwork,
    build_gated_resnet,
    fold_batch_norm,
)

ARCH = "resnet50"


@dataclass(frozen=True)
class Case:
    """One comparison and the ratio that it has to reach (None: printed only)."""

    name: str
    batch: int
    size: int
    keep: float
    distinct: int
    limit: float | None = None


BLOCKDROP = [
    Case("BlockDrop, batch 1", 1, 224, 0.7, 1, 0.80),
    Case("BlockDrop, batch 32, 32 policies", 32, 128, 0.7, 32, 0.90),
]
SPOTTUNE = [
    Case("SpotTune, batch 1", 1, 224, 0.5, 1, 1.10),
    Case("SpotTune, batch 8, 8 policies", 8, 128, 0.5, 8, 1.10),
    Case("SpotTune, batch 32, 32 policies", 32, 128, 0.5, 32, 1.10),
]
GRID = [
    Case(f"BlockDrop, batch {batch}", batch, 96, keep, distinct)
    for batch in (1, 8, 32, 128)
    for keep in (0.3, 0.5, 0.75, 1.0)
    for distinct in sorted({1, min(10, batch), batch})
]


def make_policy(case: Case, blocks: int, seed: int) -> Tensor:
    """(batch, blocks) decisions with exactly round(keep * blocks) ones per row and `distinct` different rows."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[tuple[int, ...], Tensor] = {}
    ones = round(case.keep * blocks)
    while len(rows) < case.distinct:
        row = torch.zeros(blocks)
        row[torch.randperm(blocks, generator=generator)[:ones]] = 1.0
        rows[tuple(row.int().tolist())] = row
        if ones in (0, blocks):
            break
    table = torch.stack(list(rows.values()))
    return table[torch.arange(case.batch) % len(table)]


def measure(sides: dict[str, Callable[[], object]], *, turns: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median CPU seconds per call of each side, and the median over turns of its ratio to the first side.

    Each side makes all turns once unmeasured: parts of a batch have many sizes, for which memory is found once.
    """
    for run in sides.values():
        for _ in range(turns):
            run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            began = time.thread_time()
            run()
            times[name].append(time.thread_time() - began)
    first = times[next(iter(sides))]
    ratios = {
        name: statistics.median(own / plain for own, plain in zip(found, first, strict=True))
        for name, found in times.items()
    }
    return {name: statistics.median(found) for name, found in times.items()}, ratios


def policy_network(config: SpotTuneConfig | BlockDropConfig, start: GatedResNet, *, logits: int) -> PolicyNetwork:
    """What `simpath evaluate` trains beside this network at the method's defaults, norms folded."""
    policy = Setting(config, lambda _seed: start, num_classes=1).policy_network(
        start, logits=logits, shrink=config.policy_shrink, pretrained=config.policy_pretrained, seed=3
    )
    folded = fold_batch_norm(policy).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(folded, PolicyNetwork)
    return folded


def compare(case: Case, network: GatedResNet, other: GatedResNet | None, policy: PolicyNetwork, *, turns: int) -> bool:
    """Print one case, BlockDrop's or with an other network SpotTune's; True if its limit holds."""
    images = torch.randn(case.batch, 3, case.size, case.size, generator=torch.Generator().manual_seed(1))
    images = images.contiguous(memory_format=torch.channels_last)
    policies = [make_policy(case, network.num_blocks, seed) for seed in range(turns + 1)]
    packed = pack_for_inference(network, height=case.size)
    units, packed_units = skip_units(network), skip_units(packed)
    if other is not None:
        units = choice_units(other.blocks, network.blocks)
        packed_units = choice_units(pack_for_inference(other, height=case.size).blocks, packed.blocks)
    sides: dict[str, Callable[[], object]] = {
        "plain": lambda: network.features(images),
        "routed": taking_turns(run_subbatch, packed, packed_units, images, policies),
        "packed": lambda: packed.features(images),
        "unpacked": taking_turns(run_subbatch, network, units, images, policies),
        "grouped": taking_turns(run_grouped, network, units, images, policies),
        "masked": taking_turns(run_masked, network, units, images, policies),
        "policy": lambda: policy(images),
    }
    with torch.inference_mode(), freed_memory_is_kept():  # as the stage does, for all sides
        expected = run_masked(network, units, images, policies[0])
        for found in (
            run_subbatch(packed, packed_units, images, policies[0]),
            run_subbatch(network, units, images, policies[0]),
            run_grouped(network, units, images, policies[0]),
        ):
            worst = float((found - expected).abs().max())
            if worst > 1e-3 * float(expected.abs().max()):
                raise AssertionError(f"{case.name}: routed and masked execution differ by {worst}")
        began = time.perf_counter()
        times, ratios = measure(sides, turns=turns)
        wall = time.perf_counter() - began
    cost = network_cost(network, height=case.size)
    ideal = 1.0 if other is not None else float(cost.of_policy(torch.cat(policies)).mean()) / cost.total
    holds = case.limit is None or ratios["routed"] <= case.limit
    print(
        f"{case.name:33s} {case.size:3d} px keep {case.keep:4.2f}  plain {times['plain'] * 1e3:8.1f} ms"
        f"  FLOPs {ideal:5.2f}  routed {ratios['routed']:5.2f}"
        + ("" if case.limit is None else f" (limit {case.limit:4.2f} {'ok' if holds else 'MISSED'})")
        + f"  of packed plain {times['routed'] / times['packed']:5.2f}  packed plain {ratios['packed']:5.2f}"
        f"  routed unpacked {ratios['unpacked']:5.2f}  grouped {ratios['grouped']:5.2f}  masked {ratios['masked']:5.2f}"
        f"  total with policy {ratios['routed'] + ratios['policy']:5.2f}  ({turns} turns, {wall:.0f} s wall)",
        flush=True,
    )
    return holds


def taking_turns(
    run: Callable[[GatedResNet, list[Unit], Tensor, Tensor], Tensor],
    network: GatedResNet,
    units: list[Unit],
    images: Tensor,
    policies: list[Tensor],
) -> Callable[[], object]:
    """Each call runs the next of the policies."""
    following = itertools.cycle(policies)
    return lambda: run(network, units, images, next(following))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="also the grid of batch sizes, keep rates and policies")
    parser.add_argument("--only", choices=("blockdrop", "spottune"), help="one method alone")
    parser.add_argument("--turns", type=int, default=9, help="repetitions of the limited cases")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = build_gated_resnet(ARCH, num_classes=1000, seed=0)
    network = fold_batch_norm(start)
    assert isinstance(network, GatedResNet)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data *= 1.01
    print(f"{ARCH}, {torch.__version__}, one thread; ratios of CPU time to the plain network, policy network left out")
    one = policy_network(BlockDropConfig(), start, logits=1)
    two = policy_network(SpotTuneConfig(), start, logits=2)
    for name, policy in (("BlockDrop", one), ("SpotTune", two)):
        share = module_flops(policy, height=224) / network_cost(network, height=224).total
        print(
            f"policy network of {name}: first block of each stage, image shrunk by {policy.shrink}, {share:.1%} FLOPs"
        )
    held = []
    for case in BLOCKDROP if arguments.only != "spottune" else []:
        held.append(compare(case, network, None, one, turns=arguments.turns))
    for case in SPOTTUNE if arguments.only != "blockdrop" else []:
        held.append(compare(case, network, other, two, turns=arguments.turns))
    for case in GRID if arguments.full else []:
        compare(case, network, None, one, turns=3)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
