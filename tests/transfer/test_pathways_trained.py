"""Networks that a run keeps: read again they say what the run said, block by block and at the cost that it reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pretrain.checkpoint import save_backbone
from transfer.data import ArraySource, Task, image_set
from transfer.pathways import trained as module
from transfer.pathways.adaptive import method_of
from transfer.pathways.config import (
    METHODS,
    BlockDropConfig,
    FeatureExtractorConfig,
    LesionConfig,
    PathwayConfig,
    SpotTuneConfig,
    StandardConfig,
)
from transfer.pathways.inference import PackedConv
from transfer.pathways.learning import Learner, predict_all
from transfer.pathways.methods import Setting
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import build_gated_resnet
from transfer.pathways.spottune import SpotTune
from transfer.pathways.stage import train_pathway
from transfer.pathways.trained import classify, load_trained

SMALL: dict[str, Any] = {"size": 16, "epochs": 1, "batch_size": 8, "seeds": (0,), "learning_rates": (0.05,)}
DROPPING: dict[str, Any] = {"curriculum_updates": 2, "joint_updates": 1, "penalties": (2.0,), "policy_shrink": 1}


def small(name: str, **changes: object) -> PathwayConfig:
    kind = METHODS[name]
    more: dict[str, Any] = {}
    if issubclass(kind, SpotTuneConfig):
        more = {"policy_shrink": 1}
    if name == "spottune_global":
        more["global_k"] = 1
    if issubclass(kind, BlockDropConfig):
        more = DROPPING
    return kind(**{**SMALL, **more, **changes})


def toy_task() -> Task:
    rng = np.random.default_rng(0)
    labels = np.arange(36) % 3
    arrays = rng.integers(0, 120, (36, 16, 16, 3))
    arrays[np.arange(36), :, :, labels] += 120
    images = image_set([f"{i:02d}" for i in range(36)], labels, ArraySource(arrays.astype(np.uint8)))
    return Task("toy", ("red", "green", "blue"), images.select(np.arange(24)), images.select(np.arange(24, 36)))


def held_out(config: PathwayConfig) -> Pixels:
    return load_pixels(toy_task().test, size=config.size)


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in METHODS if name != "lesion"), ("blockdrop", "bf16")]
)
def test_a_kept_network_says_what_the_run_said(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(name, precision=precision, size=24)
    summary = train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path, threads=1, keep_networks=True)
    said = load_file(tmp_path / "predictions.safetensors")
    trained = load_trained(tmp_path / "networks" / "seed=0.safetensors")
    assert (trained.config, trained.method, trained.task, trained.classes) == (
        config,
        name,
        "toy",
        ("red", "green", "blue"),
    )
    run: list[Learner] = []

    def watched(learner: Learner, *given: Any, **more: Any) -> Any:
        run.append(learner)
        return predict_all(learner, *given, **more)

    monkeypatch.setattr(module, "predict_all", watched)
    counts: list[int] = []
    predictions, flops = classify(trained, held_out(config), classified=counts.append)
    assert counts == [12]
    packed = any(isinstance(part, PackedConv) for part in run[0].modules())
    assert packed == (precision == "fp32")
    assert not any(isinstance(part, PackedConv) for part in trained.learner.modules())
    assert torch.equal(predictions.probabilities.argmax(1), said["prediction"][0])
    if "policy" in said:
        assert predictions.policy is not None and torch.equal(predictions.policy.to(torch.uint8), said["policy"][0])
    else:
        assert predictions.policy is None
    assert flops == {key: pytest.approx(summary["per_seed"][0][key]) for key in flops}


def test_a_policy_cut_from_another_network_is_read_without_it(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_backbone(
        other,
        build_gated_resnet("decathlon_resnet8", num_classes=2, seed=1),
        {
            "arch": "decathlon_resnet8",
            "num_classes": "2",
            "mean": "[0.485, 0.456, 0.406]",
            "std": "[0.229, 0.224, 0.225]",
        },
    )
    config = small("blockdrop", policy_backbone=str(other), seeds=(0, 3))
    train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path / "out", threads=1, keep_networks=True)
    other.unlink()
    said = load_file(tmp_path / "out" / "predictions.safetensors")
    for row, seed in enumerate(config.seeds):
        trained = load_trained(tmp_path / "out" / "networks" / f"seed={seed}.safetensors")
        predictions, _ = classify(trained, held_out(config))
        assert torch.equal(predictions.probabilities.argmax(1), said["prediction"][row])


def test_methods_that_draw_draw_as_in_the_run(tmp_path: Path) -> None:
    for name, changes in (("random_policy", {}), ("spottune", {"sample_at_eval": True})):
        config = small(name, seeds=(3,), **changes)
        out = tmp_path / name
        train_pathway(config, "random:cifar_resnet8", toy_task(), out=out, threads=1, keep_networks=True)
        predictions, _ = classify(load_trained(out / "networks" / "seed=3.safetensors"), held_out(config))
        assert predictions.policy is not None
        assert torch.equal(predictions.policy.to(torch.uint8), load_file(out / "predictions.safetensors")["policy"][0])


def test_global_k_keeps_the_blocks_with_the_highest_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("spottune_global", epochs=1, global_k=2)
    method = method_of(Setting(config, lambda seed: build_gated_resnet("cifar_resnet8", num_classes=3, seed=seed), 3))
    chances = torch.tensor([0.4, 0.3, 0.45])  # each below a half: the likelier way would keep none

    def fixed(learner: SpotTune, images: torch.Tensor) -> torch.Tensor:
        assert not learner.training
        return chances.expand(len(images), -1)

    monkeypatch.setattr(SpotTune, "chances", fixed)
    learner = method.train({"learning_rate": 0.01}, held_out(config), seed=0)
    assert isinstance(learner, SpotTune) and learner.shared_policy is not None
    assert learner.shared_policy.tolist() == [1.0, 0.0, 1.0]


def test_chances_are_those_of_the_drawn_gates() -> None:
    config = small("spottune")
    start = Setting(config, lambda seed: build_gated_resnet("cifar_resnet8", num_classes=3, seed=seed), 3)
    learner = method_of(start).untrained().eval()
    assert isinstance(learner, SpotTune)
    images, draw = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.Generator()
    with torch.no_grad():
        shares = torch.stack([learner.gates(images, draw) for _ in range(2000)]).mean(dim=0)
        torch.testing.assert_close(learner.chances(images), shares, atol=0.04, rtol=0)


def test_without_one_dnn_the_network_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small("standard")
    train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path, threads=1, keep_networks=True)
    trained = load_trained(tmp_path / "networks" / "seed=0.safetensors")
    packed, _ = classify(trained, held_out(config))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain, _ = classify(trained, held_out(config))
    torch.testing.assert_close(plain.probabilities, packed.probabilities)


def test_a_task_whose_name_is_no_text_is_kept(tmp_path: Path) -> None:
    config, task = small("feature_extractor"), dataclasses.replace(toy_task(), name="b\udce9")
    train_pathway(config, "random:cifar_resnet8", task, out=tmp_path, threads=1, keep_networks=True)
    assert load_trained(tmp_path / "networks" / "seed=0.safetensors").task == "b\udce9"


@pytest.mark.parametrize("arch", ["resnet18", "resnet14t"])
def test_shapes_of_torchvision_and_timm_are_kept_too(arch: str, tmp_path: Path) -> None:
    config = small("spottune", size=32)
    train_pathway(config, f"random:{arch}", toy_task(), out=tmp_path, threads=1, keep_networks=True)
    predictions, _ = classify(load_trained(tmp_path / "networks" / "seed=0.safetensors"), held_out(config))
    said = load_file(tmp_path / "predictions.safetensors")
    assert torch.equal(predictions.probabilities.argmax(1), said["prediction"][0])


def test_a_finished_run_that_kept_none_trains_them_again_to_the_same_result(tmp_path: Path) -> None:
    config = small("standard")
    first = train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path, threads=1)
    assert not (tmp_path / "networks").exists()
    again = train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path, threads=1, keep_networks=True)
    file = tmp_path / "networks" / "seed=0.safetensors"
    assert again["per_seed"] == first["per_seed"] and file.is_file()
    written = file.stat().st_mtime_ns
    train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path, threads=1, keep_networks=True)
    assert file.stat().st_mtime_ns == written


def test_what_could_not_be_read_again_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the lesion study keeps no networks; every other method can"):
        train_pathway(LesionConfig(), "random:cifar_resnet8", toy_task(), out=tmp_path, keep_networks=True)
    unnamed = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
    with pytest.raises(ValueError, match=r"GatedResNet sha256:.* cannot be kept; allowed: a backbone with a name"):
        train_pathway(StandardConfig(**SMALL), unnamed, toy_task(), out=tmp_path, keep_networks=True)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"network .*absent: no such file"):
        load_trained(tmp_path / "absent")
    backbone = tmp_path / "backbone.safetensors"
    network = build_gated_resnet("cifar_resnet8", num_classes=2, seed=0)
    save_backbone(backbone, network, {"arch": "cifar_resnet8", "num_classes": "2"})
    with pytest.raises(
        ValueError, match=r"backbone\.safetensors is a backbone; allowed: what `simpath evaluate --keep"
    ):
        load_trained(backbone)
    config = FeatureExtractorConfig(size=16, seeds=(0,), l2_penalties=(1.0,))
    train_pathway(config, "random:cifar_resnet8", toy_task(), out=tmp_path / "out", threads=1, keep_networks=True)
    file = tmp_path / "out" / "networks" / "seed=0.safetensors"
    weights = load_file(file)
    with safe_open(file, framework="pt") as opened:
        header = opened.metadata()
    for change in ({"method": "guessing"}, {"config": "{"}, {"arch": "alexnet"}, {"mean": json.dumps([0.5])}):
        save_file(weights, file, {**header, **change})
        with pytest.raises(ValueError, match=r"seed=0\.safetensors: its header is broken: "):
            load_trained(file)
    save_file({**weights, "network.head.bias": torch.tensor([0.0, float("nan"), 0.0])}, file, header)
    with pytest.raises(ValueError, match=r"network\.head\.bias has values that are not finite; the file is damaged"):
        load_trained(file)
    weights["network.head.bias"] = torch.zeros(5)
    save_file(weights, file, header)
    with pytest.raises(ValueError, match=r"network .* does not fit a cifar_resnet8: network\.head\.bias is \(5,\)"):
        load_trained(file)
