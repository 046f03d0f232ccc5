"""What every method promises about the weights that it leaves alone, and about the order of its images."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer.data import ArraySource, image_set
from transfer.pathways.adaptive import method_of
from transfer.pathways.baselines import FineTuning
from transfer.pathways.blockdrop import BlockDrop
from transfer.pathways.config import METHODS, BlockDropConfig, SpotTuneConfig
from transfer.pathways.methods import Setting
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import GatedResNet, PolicyNetwork, batch_norms, build_gated_resnet
from transfer.pathways.spottune import SpotTune

SIZE = 16
FINE_TUNED = (
    "standard",
    "last1",
    "last2",
    "last3",
    "l2sp",
    "stochastic",
    "random_policy",
    "spottune",
    "spottune_global",
)


def pixels(count: int = 24) -> Pixels:
    arrays = np.random.default_rng(0).integers(0, 255, (count, SIZE, SIZE, 3)).astype(np.uint8)
    images = image_set([f"{i:03d}" for i in range(count)], np.arange(count) % 3, ArraySource(arrays))
    return load_pixels(images, size=SIZE, threads=1)


def pretrained(seed: int) -> GatedResNet:
    """The Decathlon family has a norm in its tail too; statistics as after training."""
    network = build_gated_resnet("decathlon_resnet8", num_classes=3, seed=seed)
    draw = torch.Generator().manual_seed(1)
    for norm in batch_norms(network):
        for tensor, low in ((norm.running_mean, -0.5), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -0.5)):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=draw) + low)
    return network


def norm_values(module: torch.nn.Module) -> list[Tensor]:
    return [value.clone() for norm in batch_norms(module) for value in norm.state_dict().values()]


def moved(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("freeze_stem", [False, True])
@pytest.mark.parametrize("freeze_bn", [False, True])
@pytest.mark.parametrize("name", FINE_TUNED)
def test_frozen_norms_and_stem_hold_in_every_method(name: str, freeze_bn: bool, freeze_stem: bool) -> None:
    assert {*FINE_TUNED, "feature_extractor", "blockdrop", "lesion"} == set(METHODS)
    shared = {"size": SIZE, "epochs": 2, "batch_size": 8, "learning_rates": (0.05,), "seeds": (0,)}
    config = METHODS[name](**shared, freeze_bn=freeze_bn, freeze_stem=freeze_stem)  # type: ignore[arg-type]
    if isinstance(config, SpotTuneConfig):
        config = dataclasses.replace(config, policy_shrink=1)
    start = pretrained(0)
    method = method_of(Setting(config, pretrained, 3))
    learner = method.train(method.candidates()[0], pixels(), seed=0)
    assert isinstance(learner, FineTuning | SpotTune)
    network = learner.network
    copies = [network.blocks, learner.frozen] if isinstance(learner, SpotTune) else [network.blocks]
    assert [moved(norm_values(start.blocks), norm_values(blocks)) for blocks in copies] == [not freeze_bn] * len(copies)
    assert moved(norm_values(start.tail), norm_values(network.tail)) is not freeze_bn
    stem_learns = not freeze_stem and (isinstance(learner, SpotTune) or name in ("standard", "l2sp"))
    convolution, norm = start.stem[0].weight, norm_values(start.stem)  # type: ignore[index]
    assert torch.equal(network.stem[0].weight, convolution) is not stem_learns  # type: ignore[index]
    assert moved(norm, norm_values(network.stem)) is (stem_learns and not freeze_bn)
    assert not torch.equal(network.head.weight, start.head.weight)


@pytest.mark.parametrize(("freeze_bn", "freeze_stem"), [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("name", ["standard", "random_policy", "spottune", "spottune_global", "blockdrop"])
def test_new_weights_per_task_are_those_that_no_longer_equal_the_backbone_s(
    name: str, freeze_bn: bool, freeze_stem: bool
) -> None:
    """Counted tensor by tensor from the trained network, whatever the method says about its parameters."""
    shared = {"size": SIZE, "epochs": 2, "batch_size": 8, "learning_rates": (0.05,), "seeds": (0,)}
    more: dict[str, object] = {"policy_shrink": 1} if name not in ("standard", "random_policy") else {}
    more |= {"global_k": 1} if name == "spottune_global" else {}
    more |= {"curriculum_updates": 2, "joint_updates": 2, "penalties": (1.0,)} if name == "blockdrop" else {}
    config = METHODS[name](**shared, **more, freeze_bn=freeze_bn, freeze_stem=freeze_stem)  # type: ignore[arg-type]
    method = method_of(Setting(config, pretrained, 3))
    data = pixels()
    learner = method.train(method.candidates()[0], data, seed=0)
    predictions = method.setting.predict(learner, data, seed=0)
    numbers = method.report(learner, data, predictions, seed=0).numbers
    start = dict(pretrained(0).named_parameters())
    network: dict[str, Tensor] = dict(learner.network.named_parameters())  # type: ignore[union-attr]
    used = dict(network)
    if isinstance(learner, SpotTune):
        copies = {f"frozen.{key}": value for key, value in learner.frozen.named_parameters()}
        start |= {f"frozen.{key}": start[f"blocks.{key}"] for key in dict(learner.frozen.named_parameters())}
        used |= copies
        if learner.shared_policy is not None:
            tuned = {str(index) for index in learner.shared_policy.nonzero().flatten().tolist()}
            assert len(tuned) == 1
            drop = [key for key in network if key.startswith("blocks.") and key.split(".")[1] not in tuned]
            drop += [key for key in copies if key.split(".")[1] in tuned]
            used = {key: value for key, value in used.items() if key not in drop}
    changed = sum(value.numel() for key, value in used.items() if not torch.equal(value, start[key]))
    policy = getattr(learner, "policy", None)
    if policy is not None and name != "spottune_global":
        changed += sum(value.numel() for value in policy.parameters())
    assert numbers["parameters_new_per_task"] == changed


def test_the_feature_extractor_changes_the_head_alone() -> None:
    config = METHODS["feature_extractor"](size=SIZE, seeds=(0,))
    method = method_of(Setting(config, pretrained, 3))
    learner = method.train(method.candidates()[-1], pixels(), seed=0)
    assert isinstance(learner, FineTuning)
    before, after = pretrained(0).state_dict(), learner.network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize(("config", "logits"), [(BlockDropConfig(), 1), (SpotTuneConfig(), 2)])
def test_the_benchmark_times_the_policy_network_of_the_stage(
    config: BlockDropConfig | SpotTuneConfig, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "pathways.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_pathways", path)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, benchmark)
    spec.loader.exec_module(benchmark)
    network = pretrained(0)
    timed = benchmark.policy_network(config, network, logits=logits)
    trained = Setting(config, pretrained, 3).policy_network(
        network, logits=logits, shrink=config.policy_shrink, pretrained=True, seed=3
    )
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(timed(images), trained.eval()(images), rtol=1e-3, atol=1e-4)
    assert len(batch_norms(timed)) == 1  # the Decathlon tail's, which follows no convolution


def test_permuting_the_batch_permutes_blockdrop_s_policies_and_outputs() -> None:
    network = pretrained(0)
    trunk = build_gated_resnet("cifar_resnet8", num_classes=3, seed=1)
    policy = PolicyNetwork(trunk, num_blocks=3, logits_per_block=1)
    learner = BlockDrop(network, policy, BlockDropConfig(), penalty=1.0, joint=True).double().eval()
    draw = torch.Generator().manual_seed(5)
    images = torch.randn(8, 3, SIZE, SIZE, generator=draw, dtype=torch.float64)
    with torch.no_grad():
        keep = learner.policy(images)
        learner.policy.trunk.head.bias -= keep.median(dim=0).values  # half of the images keep each block
        order = torch.tensor([4, 2, 0, 5, 7, 1, 6, 3])
        logits, decisions = learner.predict(images, draw)
        permuted, their_decisions = learner.predict(images[order], draw)
    assert decisions is not None and their_decisions is not None
    assert len(torch.unique(decisions, dim=0)) > 1 and torch.equal(their_decisions, decisions[order])
    torch.testing.assert_close(permuted, logits[order], rtol=1e-10, atol=1e-10)
