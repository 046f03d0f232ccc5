"""Architectures: published parameter ratios, what equals what, and whose gradient reaches which weights."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from transfer.dense.attention import Mtan, PadNet, pair_name
from transfer.dense.columns import Columns, CrossStitch, Nddr, Sluice, common_directions
from transfer.dense.config import Architecture, NetworkConfig, SharingConfig
from transfer.dense.heads import AsppHead, resize_nearest
from transfer.dense.losses import DenseTask
from transfer.dense.sharing import (
    HardSharing,
    SharingNetwork,
    SingleTask,
    SoftSharing,
    build_network,
    squared_distances,
    trace_norm,
)
from transfer.dense.training import weighted_losses
from transfer.dense.trunk import build_trunk, seeded
from transfer.pathways.cost import count_flops, count_parameters

TINY = NetworkConfig(arch="resnet18", width=4, head_width=8, head_rates=(1, 2), dropout=0.0, init_std=None)
THREE = (DenseTask("segmentation", 5), DenseTask("normals", 3), DenseTask("depth", 1))
ARCHITECTURES = get_args(Architecture)
OUTPUTS = {"a": 2, "b": 3}


@pytest.fixture(autouse=True)
def _same_weights_in_every_run() -> None:
    torch.manual_seed(0)


def _images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def _network(architecture: str, *, tasks: tuple[DenseTask, ...] = THREE, **sharing: object) -> SharingNetwork:
    settings = SharingConfig(**({"pad_width": 8} | sharing))  # type: ignore[arg-type]
    return build_network(architecture, tasks, TINY, settings, seed=0)


def _full_size(architecture: str, tasks: int) -> SharingNetwork:
    names = ("segmentation", "normals", "depth", "keypoints", "edges")[:tasks]
    with torch.device("meta"):
        return build_network(
            architecture, [DenseTask(name, 1) for name in names], NetworkConfig(), SharingConfig(), seed=0
        )


@pytest.mark.parametrize(("arch", "blocks"), [("resnet18", 8), ("resnet34", 16), ("resnet101", 33)])
def test_every_residual_block_can_be_gated(arch: str, blocks: int) -> None:
    with torch.device("meta"):
        assert build_trunk(NetworkConfig(arch=arch)).num_blocks == blocks  # type: ignore[arg-type]


def test_resnet34_has_the_published_size_and_output_stride_8() -> None:
    with torch.device("meta"):
        trunk = build_trunk(NetworkConfig()).eval()
        assert trunk(torch.empty(1, 3, 224, 224)).shape == (1, 512, 28, 28)
    assert count_parameters(trunk) == 21_284_672
    # 37.06e9 in adashare.md: there the max-pool pads, which makes 224 pixels 29 x 29 instead of 28 x 28
    image = torch.empty(1, 3, 224, 224, device="meta")
    assert count_flops(lambda: trunk(image)) == pytest.approx(34.609e9, rel=1e-4)


def test_a_published_head_has_23_million_parameters() -> None:
    with torch.device("meta"):
        head = AsppHead(512, 1, NetworkConfig())
    assert count_parameters(head) == pytest.approx(23.1e6, rel=0.002)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_parameter_ratios_are_those_of_the_published_tables(tasks: int) -> None:
    reference = 21_284_672
    ratio = {name: _full_size(name, tasks).param_ratio(reference) for name in ARCHITECTURES}
    assert len(ratio) == 9
    assert ratio["hard"] == ratio["adashare"] == ratio["pad_net"] == 1
    assert ratio["single_task"] == ratio["soft"] == tasks
    assert ratio["cross_stitch"] == pytest.approx(tasks, abs=2e-3)
    assert ratio["sluice"] == pytest.approx(tasks, abs=1e-4)
    assert ratio["nddr"] == pytest.approx({2: 2.065, 3: 3.147, 5: 5.409}[tasks], abs=1e-3)
    assert ratio["mtan"] - 1 == pytest.approx(0.02345 + 0.01233 * tasks, abs=2e-5)  # linear in the tasks
    assert ratio["mtan"] == pytest.approx({2: 1.05, 3: 1.06, 5: 1.09}[tasks], abs=5e-3)


@pytest.mark.parametrize(("tasks", "overhead"), [(2, 3840), (3, 8640)])
def test_cross_stitch_units_are_as_many_as_counted_by_hand(tasks: int, overhead: int) -> None:
    network = _full_size("cross_stitch", tasks)
    assert isinstance(network, CrossStitch)
    assert sum(p.numel() for p in network.mixers()) == overhead


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_task_gets_predictions_of_its_channels_at_an_eighth(architecture: str) -> None:
    predictions = _network(architecture).eval()(_images())
    assert list(predictions) == [task.name for task in THREE]
    for task in THREE:
        assert {part.shape for part in predictions[task.name]} == {(2, task.outputs, 4, 4)}
    assert len(predictions["depth"]) == (2 if architecture == "pad_net" else 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_weight_is_either_shared_or_belongs_to_one_task(architecture: str) -> None:
    network = _network(architecture)
    shared = {id(p) for p in network.shared_parameters()}
    own = {task: {id(p) for p in network.task_parameters(task)} for task in network.tasks}
    policy = {id(p) for name, p in network.named_parameters() if name == "logits"}
    assert sum(len(group) for group in own.values()) + len(shared) + len(policy) == len(list(network.parameters()))
    for task in network.tasks:
        network.zero_grad(set_to_none=True)
        sum(part.square().mean() for part in network(_images())[task]).backward()
        reached = {id(p) for p in network.parameters() if p.grad is not None}
        others = set().union(*(group for name, group in own.items() if name != task))
        assert own[task] <= reached and not reached & others
        if architecture != "pad_net":
            assert shared <= reached


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_depend_on_the_seed_alone(architecture: str) -> None:
    torch.manual_seed(5)
    first = _network(architecture).state_dict()
    second = _network(architecture).state_dict()
    assert len(first) > 0 and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_optimiser_groups_hold_each_trunk_weight_once(architecture: str) -> None:
    network = _network(architecture)
    grouped = [id(p) for group in network.parameter_groups() for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in network.trunk_parameters())


def _as_single(network: Columns) -> SingleTask:
    """Single-task networks with the columns' weights."""
    single = SingleTask(network.outputs, network.config)
    own = single.state_dict()
    single.load_state_dict({name: value for name, value in network.state_dict().items() if name in own})
    return single.eval()


def test_cross_stitch_without_exchange_is_independent_networks() -> None:
    stitched = CrossStitch(OUTPUTS, TINY, SharingConfig(stitch_alpha=1.0)).eval()
    single = _as_single(stitched)
    for network in (stitched, single):
        sum(network(_images())[task][0].square().sum() for task in OUTPUTS).backward()
    for task in OUTPUTS:
        torch.testing.assert_close(stitched(_images())[task][0], single(_images())[task][0])
    pairs = list(zip(stitched.trunks.parameters(), single.trunks.parameters(), strict=True))
    assert len(pairs) > 10
    for p, q in pairs:
        torch.testing.assert_close(p.grad, q.grad)


def test_cross_stitch_of_equal_weights_is_the_mean() -> None:
    network = CrossStitch({"a": 1, "b": 1, "c": 1}, TINY, SharingConfig(stitch_alpha=1 / 3))
    maps = list(torch.randn(3, 2, 4, 5, 5).unbind())
    for mixed in network.mix(0, maps):
        torch.testing.assert_close(mixed, torch.stack(maps).mean(0))


def test_cross_stitch_rows_sum_to_one_and_leave_equal_columns_alone() -> None:
    network = CrossStitch({"a": 1, "b": 1, "c": 1}, TINY, SharingConfig())
    for stitch in network.stitches:
        torch.testing.assert_close(stitch.sum(1), torch.ones(3, stitch.shape[2]))
    features = torch.randn(2, 4, 5, 5)
    for mixed in network.mix(0, [features] * 3):
        torch.testing.assert_close(mixed, features)


def test_the_gradient_of_a_stitch_is_the_product_of_gradient_and_feature() -> None:
    network = CrossStitch(OUTPUTS, TINY, SharingConfig(stitch_per_channel=False))
    maps = list(torch.randn(2, 2, 4, 5, 5).unbind())
    outside = torch.randn(2, 2, 4, 5, 5)
    sum((mixed * given).sum() for mixed, given in zip(network.mix(0, maps), outside, strict=True)).backward()
    gradient = network.stitches[0].grad
    assert gradient is not None
    for to in range(2):
        for origin in range(2):
            torch.testing.assert_close(gradient[to, origin, 0], (outside[to] * maps[origin]).sum())


def test_sluice_with_one_subspace_and_the_last_layer_alone_is_cross_stitch() -> None:
    # In double precision: sums over channels in another order move float32 by more than a wrong mixture might.
    sluice = Sluice(OUTPUTS, TINY, SharingConfig(sluice_subspaces=1)).eval().double()
    stitched = CrossStitch(OUTPUTS, TINY, SharingConfig(stitch_per_channel=False)).eval().double()
    own = stitched.state_dict()
    state = {name: value for name, value in sluice.state_dict().items() if name in own}
    state |= {f"stitches.{i}": stitch[:, :, None] for i, stitch in enumerate(sluice.stitches)}
    stitched.load_state_dict(state)
    with torch.no_grad():
        sluice.beta.copy_(torch.tensor([0.0, 0, 0, 1]).expand(2, 4))
    images = _images().double()
    for task in OUTPUTS:
        torch.testing.assert_close(sluice(images)[task][0], stitched(images)[task][0], rtol=1e-10, atol=1e-10)


def test_sluice_mixes_subspaces_as_written_out_by_hand() -> None:
    network = Sluice(OUTPUTS, TINY, SharingConfig(sluice_subspaces=2))
    matrix = torch.rand(4, 4)
    with torch.no_grad():
        network.stitches[0].copy_(matrix)
    maps = list(torch.randn(2, 2, 4, 3, 3).unbind())
    parts = [maps[0][:, :2], maps[0][:, 2:], maps[1][:, :2], maps[1][:, 2:]]
    expected = [sum(matrix[i, j] * parts[j] for j in range(4)) for i in range(4)]
    mixed = network.mix(0, maps)
    torch.testing.assert_close(mixed[0], torch.cat(expected[:2], dim=1))
    torch.testing.assert_close(mixed[1], torch.cat(expected[2:], dim=1))


def test_subspaces_are_orthogonal_exactly_when_their_inputs_are_disjoint() -> None:
    disjoint = torch.block_diag(torch.rand(2, 3), torch.rand(2, 3))
    assert float(common_directions(disjoint, 2)) == 0
    same = torch.rand(2, 6).repeat(2, 1)
    assert float(common_directions(same, 2)) > 0
    penalty = Sluice(OUTPUTS, TINY, SharingConfig()).penalty()
    assert penalty is not None and float(penalty.detach()) > 0
    assert Sluice(OUTPUTS, TINY, SharingConfig(sluice_orthogonality=0)).penalty() is None


def test_nddr_without_exchange_still_normalises_and_cuts() -> None:
    network = Nddr(OUTPUTS, TINY, SharingConfig(stitch_alpha=1.0)).eval()
    maps = list(torch.randn(2, 2, 4, 5, 5).unbind())
    for mixed, given in zip(network.mix(0, maps), maps, strict=True):
        torch.testing.assert_close(mixed, torch.relu(given) / math.sqrt(1 + 1e-5))


def test_soft_penalty_is_the_distance_between_all_pairs() -> None:
    rows = torch.randn(3, 7)
    pairs = [(rows[i] - rows[j]).square().sum() for i in range(3) for j in range(i)]
    torch.testing.assert_close(squared_distances(rows), torch.stack(pairs).sum())
    assert float(squared_distances(rows[:1].repeat(3, 1))) == pytest.approx(0, abs=1e-10)


def test_trace_norm_is_the_sum_of_singular_values() -> None:
    rows = torch.randn(3, 7, dtype=torch.float64)
    torch.testing.assert_close(trace_norm(rows), torch.linalg.svdvals(rows).sum())


@pytest.mark.parametrize("kind", ["l2", "trace"])
def test_soft_penalty_pulls_the_trunks_together(kind: str) -> None:
    network = SoftSharing(OUTPUTS, TINY, penalty=kind, weight=1.0)
    before = _distance(network)
    for _ in range(3):
        network.zero_grad()
        network.penalty().backward()
        with torch.no_grad():
            for parameter in network.trunks.parameters():
                parameter -= 0.05 * parameter.grad  # type: ignore[operator]
    assert _distance(network) < before


def _distance(network: SoftSharing) -> float:
    layers = zip(network.column("a").parameters(), network.column("b").parameters(), strict=True)
    return sum(float((p - q).detach().square().sum()) for p, q in layers)


def test_mtan_masks_lie_between_0_and_1_and_open_ones_pass_the_shared_features() -> None:
    network = Mtan(OUTPUTS, TINY).train()
    found: list[Tensor] = []
    masks = network.masks["a"]
    assert isinstance(masks, nn.ModuleList)
    for mask in masks:
        mask.register_forward_hook(lambda _m, _i, out: found.append(out))
    network(_images())
    assert len(found) == 4 and all(bool(((mask > 0) & (mask < 1)).all()) for mask in found)

    class Open(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(())

    masks[3] = Open()
    network.eval()
    torch.testing.assert_close(network.features(_images())["a"], network.trunk(_images()))


def test_mtan_has_one_carrier_for_all_tasks_and_works_for_one_task() -> None:
    assert len(Mtan({"a": 1, "b": 1, "c": 1}, TINY).carriers) == 3
    assert Mtan({"a": 1}, TINY).eval()(_images())["a"][0].shape == (2, 1, 4, 4)


@pytest.mark.parametrize("gate", ["target", "source"])
def test_pad_net_with_closed_gates_keeps_each_tasks_features(gate: str) -> None:
    network = PadNet({"a": 1, "b": 1, "c": 1}, TINY, SharingConfig(pad_width=8, pad_gate=gate))  # type: ignore[arg-type]
    assert sorted(network.messages) == sorted(pair_name(t, s) for t in "abc" for s in "abc" if t != s)

    class Closed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, -math.inf)

    for name in network.gates:
        network.gates[name] = Closed()
    maps = {task: torch.randn(2, 8, 4, 4) for task in "abc"}
    for task, mixed in network.distil(maps).items():
        assert torch.equal(mixed, maps[task])


def test_pad_nets_loss_counts_initial_and_final_predictions() -> None:
    network = _network("pad_net").eval()
    predictions = network(_images())
    labels = {"segmentation": torch.zeros(2, 32, 32).long(), "depth": torch.ones(2, 1, 32, 32)}
    labels["normals"] = torch.zeros(2, 3, 32, 32)
    losses = weighted_losses(THREE, predictions, labels)
    assert losses[1] is None
    for task, loss in zip(THREE, losses, strict=True):
        if loss is not None:
            parts = [task.loss(part, labels[task.name]) for part in predictions[task.name]]
            assert len(parts) == 2
            torch.testing.assert_close(loss, parts[0] + parts[1])  # type: ignore[operator]


def test_hard_sharing_adds_the_weighted_gradients_in_the_trunk_only() -> None:
    network = HardSharing(OUTPUTS, TINY).double().eval()
    weights = {"a": 2.0, "b": 5.0}

    def gradients(losses: dict[str, float]) -> dict[str, Tensor]:
        network.zero_grad(set_to_none=True)
        predictions = network(_images().double())
        sum(weight * predictions[task][0].square().mean() for task, weight in losses.items()).backward()
        return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}

    alone, together = {task: gradients({task: 1.0}) for task in OUTPUTS}, gradients(weights)
    for name, value in together.items():
        parts = [weights[task] * alone[task][name] for task in OUTPUTS if name in alone[task]]
        assert len(parts) == (2 if name.startswith("trunk") else 1)
        torch.testing.assert_close(value, sum(parts), rtol=1e-6, atol=1e-10)


def test_nearest_resizing_is_that_of_torch() -> None:
    x = torch.randn(2, 3, 13, 9)
    for size in ((4, 4), (26, 30), (13, 9)):
        expected = torch.nn.functional.interpolate(x, size=size, mode="nearest")
        assert torch.equal(resize_nearest(x, size), expected)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(9):
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)
