"""Masked, routed, grouped and planned execution compute the same numbers, and only the cheap ones are cheap."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from gated_networks import lively
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from transfer.pathways import executors
from transfer.pathways.cost import count_flops, network_cost
from transfer.pathways.executors import (
    StaticPlan,
    Unit,
    choice_units,
    plan_rows,
    run_grouped,
    run_masked,
    run_subbatch,
    skip_units,
)
from transfer.pathways.resnet import GatedResNet, batch_norms, build_gated_resnet

ROUTED = [run_subbatch, run_grouped]


def lively_network(arch: str, dtype: torch.dtype = torch.float64) -> GatedResNet:
    return lively(build_gated_resnet(arch, num_classes=4, seed=0)).to(dtype)


def units_of(kind: str, network: GatedResNet) -> list[Unit]:
    if kind == "skip":
        return skip_units(network)
    other = copy.deepcopy(network.blocks)
    generator = torch.Generator().manual_seed(9)
    for parameter in other.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return choice_units(other, network.blocks)


def images(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3)).to(dtype)


def policy(count: int, blocks: int, keep: float = 0.6, seed: int = 0) -> Tensor:
    return (torch.rand(count, blocks, generator=torch.Generator().manual_seed(seed)) < keep).double()


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("run", ROUTED)
@pytest.mark.parametrize("kind", ["skip", "choice"])
@pytest.mark.parametrize("arch", ["cifar_resnet20", "decathlon_resnet8", "resnet18"])
def test_routed_execution_equals_masked_execution(arch: str, kind: str, run: object) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        network = lively_network(arch, dtype)
        units, x = units_of(kind, network), images(7, dtype)
        decisions = policy(7, len(units)).to(dtype)
        expected = run_masked(network, units, x, decisions)
        found = run(network, units, x, decisions)  # type: ignore[operator]
        scale = float(expected.abs().max())
        assert scale > 0.1 and float((found - expected).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("run", ROUTED)
def test_channels_last_stays_channels_last_and_right(run: object) -> None:
    network, x = lively_network("resnet18", torch.float32), images(5, torch.float32)
    decisions = policy(5, 8).float()
    network.to(memory_format=torch.channels_last)
    decisions[:, -1] = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])
    expected = run_masked(network, skip_units(network), x, decisions)
    seen = []
    hook = network.blocks[-1].residual.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    found = run(network, skip_units(network), x.contiguous(memory_format=torch.channels_last), decisions)  # type: ignore[operator]
    hook.remove()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert seen and all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)


@pytest.mark.parametrize("run", [run_masked, *ROUTED])
def test_all_keep_is_the_plain_network_bit_for_bit(run: object) -> None:
    network = lively_network("resnet18", torch.float32)
    x = images(4, torch.float32)
    found = run(network, skip_units(network), x, torch.ones(4, 8))  # type: ignore[operator]
    assert torch.equal(network.head(found), network(x))


@pytest.mark.parametrize("run", [run_masked, *ROUTED])
def test_all_drop_is_stem_shortcuts_and_head(run: object) -> None:
    network, x = lively_network("resnet18", torch.float32), images(4, torch.float32)
    expected = network.stem(x)
    for block in network.blocks:
        expected = block.shortcut(expected)
    found = run(network, skip_units(network), x, torch.zeros(4, 8))  # type: ignore[operator]
    assert torch.equal(found, network.tail(expected))


def test_a_dropped_block_leaves_its_shortcut_without_a_relu() -> None:
    """A 1x1 convolution on the shortcut may give negative values, which a ReLU after the mixture would destroy."""
    network, x = lively_network("resnet18"), images(3)
    seen = []
    hook = network.blocks[3].residual.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    decisions = torch.ones(3, 8)
    decisions[:, 2] = 0.0  # the first block of the second stage
    run_subbatch(network, skip_units(network), x, decisions)
    hook.remove()
    assert len(seen) == 1 and float(seen[0].min()) < 0


@pytest.mark.parametrize("run", [run_masked, *ROUTED])
@pytest.mark.parametrize("kind", ["skip", "choice"])
def test_permuting_the_batch_permutes_the_outputs(kind: str, run: object) -> None:
    network = lively_network("cifar_resnet8")
    units, x, decisions = units_of(kind, network), images(6), policy(6, 3)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    found = run(network, units, x, decisions)  # type: ignore[operator]
    permuted = run(network, units, x[order], decisions[order])  # type: ignore[operator]
    torch.testing.assert_close(permuted, found[order], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("run", [run_masked, *ROUTED])
def test_one_image_under_every_policy(run: object) -> None:
    network, x = lively_network("cifar_resnet8"), images(1)
    outputs = set()
    for decisions in itertools.product((0.0, 1.0), repeat=3):
        found = run(network, skip_units(network), x, torch.tensor([decisions]))  # type: ignore[operator]
        expected = StaticPlan(network, skip_units(network), [int(value) for value in decisions])(x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        outputs.add(round(float(found.sum()), 9))
    assert len(outputs) == 8


def test_a_block_sees_the_rows_that_keep_it_and_is_not_called_for_none() -> None:
    network, decisions = lively_network("cifar_resnet20"), policy(9, 9)
    decisions[:, 4] = 0.0
    decisions[:, 7] = 1.0
    rows: Counter[int] = Counter()
    calls: Counter[int] = Counter()

    def count(index: int) -> object:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            rows[index] += len(inputs[0])
            calls[index] += 1

        return hook

    for index, block in enumerate(network.blocks):
        block.residual.register_forward_hook(count(index))  # type: ignore[union-attr,arg-type]
    run_subbatch(network, skip_units(network), images(9), decisions)
    assert calls[4] == 0 and max(calls.values()) == 1
    assert [rows[index] for index in range(9)] == decisions.sum(dim=0).int().tolist()


def test_executed_flops_are_the_predicted_ones_and_masked_ones_the_full_ones() -> None:
    network = lively_network("resnet18", torch.float32)
    cost = network_cost(network, height=16)
    x, units = images(6, torch.float32), skip_units(network)
    head = 2 * network.head.in_features * network.head.out_features
    for decisions in (policy(6, 8).float(), torch.zeros(6, 8), torch.ones(6, 8)):
        predicted = int(cost.of_policy(decisions).sum()) - 6 * head
        for run in ROUTED:
            assert count_flops(lambda run=run, d=decisions: run(network, units, x, d)) == predicted  # type: ignore[misc]
        assert count_flops(lambda d=decisions: run_masked(network, units, x, d)) == 6 * (cost.total - head)  # type: ignore[misc]
    one_way = units_of("choice", network)
    assert count_flops(lambda: run_subbatch(network, one_way, x, policy(6, 8))) == 6 * (cost.total - head)


class SynchronisationCounter(TorchDispatchMode):
    """Counts the operations whose result depends on values (on a GPU each of them waits for the device).

    Copies to the host by `.cpu()` or `.tolist()` are not among them: on a CPU they dispatch nothing. `host_calls`
    counts those.
    """

    FORCED = ("aten::_local_scalar_dense", "aten::nonzero", "aten::item", "aten::is_nonzero", "aten::masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple[object, ...] = (), kwargs: object = None
    ) -> object:
        name = str(getattr(func, "_schema", func)).split("(")[0].split(".")[0]
        self.names[name] += 1
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


def host_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts calls of the tensor methods that copy to the host, by name."""
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., object]:
        method = getattr(Tensor, name)

        def call(self: Tensor, *args: object, **kwargs: object) -> object:
            calls[name] += 1
            return method(self, *args, **kwargs)

        return call

    for name in ("cpu", "tolist", "item", "numpy", "__bool__", "__int__", "__float__", "nonzero"):
        monkeypatch.setattr(Tensor, name, counted(name))
    return calls


@pytest.mark.parametrize("kind", ["skip", "choice"])
@pytest.mark.parametrize("arch", ["cifar_resnet8", "cifar_resnet20"])
def test_no_block_asks_the_host_about_its_rows(arch: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the row plan is copied to the host, however many blocks; no operation of the blocks depends on values."""
    network = lively_network(arch)
    units, x, decisions = units_of(kind, network), images(9), policy(9, network.num_blocks)
    calls = host_calls(monkeypatch)
    with SynchronisationCounter() as counter:
        run_subbatch(network, units, x, decisions)
    monkeypatch.undo()
    assert counter.names["aten::convolution"] >= 6
    assert not any(counter.names[name] for name in SynchronisationCounter.FORCED)
    assert dict(calls) == {"cpu": 1, "tolist": 1, "numpy": 1}  # list and array are made of what has come to the host


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["skip", "choice"])
def test_a_gpu_is_waited_for_once_per_policy(kind: str) -> None:
    network = lively_network("cifar_resnet20", torch.float32).cuda()
    units, x, decisions = units_of(kind, network), images(9, torch.float32).cuda(), policy(9, 9).float().cuda()
    run_subbatch(network, units, x, decisions)  # kernels are loaded and chosen in the first pass
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run_subbatch(network, units, x, decisions)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "called a synchronizing" in str(warning.message)]
    assert len(waits) == 1, waits


@pytest.mark.parametrize("constant", [(), (0,), (2,), (4,), (0, 1, 3), (0, 1, 2, 3, 4)])
def test_row_plan_puts_the_rows_of_each_way_side_by_side_and_restores_their_order(constant: tuple[int, ...]) -> None:
    decisions = policy(8, 5)
    for unit in constant:
        decisions[:, unit] = float(unit % 2)
    plan = plan_rows(decisions)
    assert plan.counts == tuple(decisions.sum(dim=0).int().tolist())
    rows = torch.arange(8)
    for unit, (ones, pairs, move) in enumerate(zip(plan.counts, plan.swaps, plan.moves, strict=True)):
        assert (move is None) == (pairs is None) == (unit in constant)
        if move is not None and pairs is not None:
            swapped = rows.clone()
            for one, other in pairs:  # a pair for each row on the wrong side, and no other row moves
                swapped[[one, other]] = swapped[[other, one]]
            assert len(pairs) == int((decisions[rows[:ones], unit] == 0).sum())
            rows = rows[move]
            assert torch.equal(rows, swapped)
            assert decisions[rows[:ones], unit].all() and not decisions[rows[ones:], unit].any()
    assert (plan.restore is None) == (len(constant) == 5)
    if plan.restore is not None:
        assert torch.equal(rows[plan.restore], torch.arange(8))


def swaps_made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Filled with the pairs of every call that exchanges rows in place."""
    made: list[object] = []

    def counted(
        x: Tensor, pairs: tuple[tuple[int, int], ...], swap: Callable[..., None] = executors._swap_rows
    ) -> None:
        made.append(pairs)
        swap(x, pairs)

    monkeypatch.setattr(executors, "_swap_rows", counted)
    return made


@pytest.mark.parametrize("kind", ["skip", "choice"])
def test_a_batch_is_gathered_once_and_then_only_rows_on_the_wrong_side_move(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, decisions = lively_network("cifar_resnet20"), policy(9, 9)
    decisions[:, 4] = 1.0
    later = [pairs for pairs in plan_rows(decisions).swaps if pairs is not None][1:]
    assert len(later) == 7
    swapped = swaps_made(monkeypatch)
    with SynchronisationCounter() as counter:
        run_subbatch(network, units_of(kind, network), images(9), decisions)
    assert counter.names["aten::index_select"] == 1 + 1  # and the features back into the batch's order
    assert swapped == later
    assert not any(counter.names[name] for name in ("aten::index_copy_", "aten::index_copy", "aten::cat"))


@pytest.mark.parametrize("kind", ["skip", "choice"])
def test_where_gradients_are_recorded_every_block_gathers_its_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, decisions = lively_network("cifar_resnet20"), policy(9, 9)
    swapped = swaps_made(monkeypatch)
    with torch.enable_grad(), SynchronisationCounter() as counter:
        run_subbatch(network, units_of(kind, network), images(9), decisions)
    assert counter.names["aten::index_select"] == 9 + 1
    assert not swapped


@pytest.mark.parametrize("run", ROUTED)
def test_training_mode_batch_norm_is_refused(run: object) -> None:
    network = lively_network("decathlon_resnet8", torch.float32)  # with a norm in its tail
    x, decisions = images(4, torch.float32), policy(4, 3).float()
    next(iter(batch_norms(network.blocks[1]))).train()
    with pytest.raises(RuntimeError, match="sub-batch execution needs batch norm in eval mode"):
        run(network, skip_units(network), x, decisions)  # type: ignore[operator]
    for part in (network.stem, network.tail):
        network.eval()
        batch_norms(part)[0].train()
        with pytest.raises(RuntimeError, match="sub-batch execution needs batch norm in eval mode"):
            run(network, skip_units(network), x, decisions)  # type: ignore[operator]
    # And for a reason: with batch statistics the parts of a batch give other numbers than the batch.
    network.eval()
    network.blocks.train()
    masked = run_masked(network, skip_units(network), x, torch.ones(4, 3))
    halves = [run_masked(network, skip_units(network), half, torch.ones(2, 3)) for half in x.split(2)]
    assert float((masked - torch.cat(halves)).abs().max()) > 0.01


def test_gradients_of_routed_execution_equal_those_of_masked() -> None:
    network, x = lively_network("cifar_resnet8"), images(5)
    decisions = policy(5, 3)
    grads = []
    with torch.enable_grad():
        for run in (run_masked, run_subbatch):
            network.zero_grad()
            network.head(run(network, skip_units(network), x, decisions)).square().sum().backward()
            grads.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 20
    for masked, routed in zip(*grads, strict=True):
        torch.testing.assert_close(routed, masked, rtol=1e-9, atol=1e-9)


def test_input_images_are_not_written_to() -> None:
    network = lively_network("cifar_resnet8")
    network.stem = nn.Identity()
    network.blocks[0].shortcut = nn.Identity()
    x = torch.randn(4, 16, 16, 16, dtype=torch.float64)
    before = x.clone()
    run_subbatch(network, skip_units(network), x, policy(4, 3))
    assert torch.equal(x, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_that_change_places_do_not_change_what_comes_out(layout: torch.memory_format) -> None:
    """Fifteen blocks of three shapes, split and not, so that rows change places in tensors of every origin."""
    network = lively_network("cifar_resnet32", torch.float32)
    network.to(memory_format=layout)
    x = images(6, torch.float32).contiguous(memory_format=layout)
    decisions = policy(6, 15, keep=0.5, seed=4).float()
    decisions[:, (2, 6, 7)] = torch.tensor([0.0, 1.0, 0.0])
    for units in (skip_units(network), units_of("choice", network)):
        expected = run_masked(network, units, x, decisions)
        first, again = run_subbatch(network, units, x, decisions), run_subbatch(network, units, x, decisions)
        torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(first, again)


def test_a_static_plan_has_no_trace_of_dropped_identity_blocks() -> None:
    network = lively_network("cifar_resnet20")
    plan = StaticPlan(network, skip_units(network), [0] * 9)
    assert len(plan.chain) == 2  # the two shortcuts that change the shape
    with pytest.raises(ValueError, match="a plan of 3 decisions for 9 blocks"):
        StaticPlan(network, skip_units(network), [0, 1, 0])


def test_a_policy_of_the_wrong_shape_is_refused() -> None:
    network = lively_network("cifar_resnet8")
    for run in (run_masked, *ROUTED):
        with pytest.raises(ValueError, match=r"the policy is \(2, 3\), expected \(batch, blocks\) = \(4, 3\)"):
            run(network, skip_units(network), images(4), policy(2, 3))


@pytest.mark.parametrize("run", ROUTED)
@pytest.mark.parametrize("value", [0.3, 2.0, float("nan")])
def test_decisions_other_than_zero_and_one_are_refused_where_they_would_be_rounded(value: float, run: object) -> None:
    network = lively_network("cifar_resnet8")
    decisions = policy(4, 3)
    decisions[2, 1] = value
    with pytest.raises(ValueError, match="the policy has 1 decisions of block 1 that are neither 0 nor 1"):
        run(network, skip_units(network), images(4), decisions)  # type: ignore[operator]
