"""The stage: one command for every method; resumable, seeded, tested once."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from transfer.data import ArraySource, FileSource, Task, image_set
from transfer.pathways import lesion
from transfer.pathways.baselines import FineTuning, last_blocks, random_blocks
from transfer.pathways.config import (
    METHODS,
    BlockDropConfig,
    FeatureExtractorConfig,
    L2SPConfig,
    Last2Config,
    LesionConfig,
    PathwayConfig,
    RandomPolicyConfig,
    SpotTuneConfig,
    StandardConfig,
    method_name,
)
from transfer.pathways.cost import network_cost
from transfer.pathways.learning import Diverged, Predictions, Schedule, fit, predict_all
from transfer.pathways.methods import Report
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import GatedResNet, build_gated_resnet
from transfer.pathways.spottune import SpotTune
from transfer.pathways.stage import _Run, train_pathway
from transfer.pathways.start import save_gated, starting_point
from transfer.score import load_correct

BACKBONE = "random:cifar_resnet8"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy_task(train: int = 48, test: int = 24, *, val: int = 0, size: int = 16) -> Task:
    """Three classes of colour with noise: learnable in a few steps."""
    rng = np.random.default_rng(0)
    count = train + val + test
    labels = np.arange(count) % 3
    arrays = rng.integers(0, 120, (count, size, size, 3))
    arrays[np.arange(count), :, :, labels] += 120
    images = image_set([f"{i:04d}" for i in range(count)], labels, ArraySource(arrays.astype(np.uint8)))
    parts = [images.select(np.arange(a, b)) for a, b in ((0, train), (train, train + val), (train + val, count))]
    return Task("toy", ("red", "green", "blue"), parts[0], parts[2], val=parts[1] if val else None)


SMALL = {"size": 16, "epochs": 2, "batch_size": 16, "seeds": (0, 1), "learning_rates": (0.05,)}


def small(kind: type[PathwayConfig], **changes: object) -> PathwayConfig:
    more: dict[str, object] = {}
    if issubclass(kind, SpotTuneConfig):
        more = {"policy_shrink": 1}
    if issubclass(kind, BlockDropConfig):
        more = {"curriculum_updates": 4, "joint_updates": 6, "penalties": (1.0, 5.0), "policy_shrink": 1}
    if issubclass(kind, LesionConfig):
        more = {"arch": "cifar_resnet20", "draws": 1, "seeds": (0,)}
    return kind(**{**SMALL, **more, **changes})  # type: ignore[arg-type]


def test_there_is_a_name_for_every_method() -> None:
    assert len(METHODS) == 12
    assert [method_name(kind()) for kind in METHODS.values()] == list(METHODS)


def check_report(row: dict[str, Any], policy: torch.Tensor) -> None:
    """What one seed says about its decisions, computed anew from the saved ones. (N, L)."""
    assert row["unique_policies"] == len({tuple(decisions) for decisions in policy.tolist()})
    shares = [float(policy[:, block].sum()) / len(policy) for block in range(3)]
    if "blocks_kept" not in row:
        assert row["share_tuned"] == pytest.approx(shares)
        assert row["flops_network"] == row["flops_plain"]
        return
    assert row["share_kept_per_block"] == pytest.approx(shares) and row["blocks_kept"] == pytest.approx(sum(shares))
    kept = [float(policy[label::3].sum()) / len(policy[label::3]) for label in range(3)]  # labels take turns
    assert row["blocks_kept_per_class"] == pytest.approx(kept)
    cost = network_cost(build_gated_resnet("cifar_resnet8", num_classes=3, seed=0), height=16)

    def flops(decisions: Iterable[float]) -> float:
        pairs = zip(decisions, cost.residuals, strict=True)
        return cost.stem + cost.head + sum(cost.shortcuts) + sum(keep * one for keep, one in pairs)

    assert row["flops_network"] == pytest.approx(np.mean([flops(decisions) for decisions in policy.tolist()]))
    assert row["flops_plain"] == flops((1, 1, 1))
    count, others = round(sum(shares)), row["flops_others"]
    assert others["full"] == others["joint_full"] == flops((1, 1, 1))
    assert others["first_k"] == flops([float(block < count) for block in range(3)])
    spread = {0: (0, 0, 0), 1: (1, 0, 0), 2: (1, 1, 0), 3: (1, 1, 1)}
    assert others["dist_k"] == flops(spread[count])
    sets = [flops(decisions) for decisions in itertools.product((0, 1), repeat=3) if sum(decisions) == count]
    assert min(sets) <= others["random_k"] <= max(sets)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "lesion"])
def test_every_method_runs_on_a_task_and_leaves_its_files(name: str, tmp_path: Path) -> None:
    config = small(METHODS[name])
    seen: list[tuple[int, int, str]] = []
    summary = train_pathway(config, BACKBONE, toy_task(), out=tmp_path, progress=lambda *report: seen.append(report))
    assert (summary["method"], summary["task"], summary["metric"]) == (name, "toy", "accuracy")
    assert summary["n_train"] == 48 and summary["n_test"] == 24 and len(summary["scores"]) == 2
    assert summary["score"] == pytest.approx(np.mean(summary["scores"]))
    assert summary["ci95"][0] <= summary["score"] <= summary["ci95"][1]
    correct = load_correct(tmp_path)
    assert correct.shape == (2, 24) and 100 * correct.mean() == pytest.approx(summary["score"])
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == summary
    assert not (tmp_path / "runs").exists() and len((tmp_path / "names.csv").read_text().splitlines()) == 25
    assert seen and all(0 <= done <= total for done, total, _ in seen)
    for row in summary["per_seed"]:
        assert row["flops_network"] <= row["flops_plain"] and row["flops_total"] >= row["flops_network"]
    if name.startswith("spottune") or name == "random_policy":
        assert "all_tuned" in summary["others"]
    policies = load_file(tmp_path / "predictions.safetensors").get("policy", torch.empty(0))
    assert policies.shape == ((2, 24, 3) if "policy" in name or name.startswith(("spottune", "block")) else (0,))
    for row, policy in zip(summary["per_seed"], policies, strict=False):
        check_report(row, policy.double())
    if name == "blockdrop":
        assert set(summary["others"]) == {"full", "joint_full", "first_k", "random_k", "dist_k"}
        left_out = [note for note in summary["notes"] if "easy and hard" in note]
        assert (tmp_path / "easy_and_hard.png").exists() != bool(left_out)
        assert 0 <= summary["per_seed"][0]["blocks_kept"] <= 3


def test_the_interval_widens_where_seeds_disagree(tmp_path: Path) -> None:
    """Two seeds on the same images: alike, both mixed, and one right where the other is wrong."""
    labels = torch.arange(24) % 3
    right, wrong = torch.eye(3)[labels], torch.eye(3)[(labels + 1) % 3]
    run = object.__new__(_Run)
    run.out = tmp_path
    half = torch.cat([right[:12], wrong[12:]])
    test = load_pixels(toy_task().test, size=16)
    widths, scores = [], []
    for rows in ((half, half), (right, wrong)):
        predictions = [Predictions(row, labels) for row in rows]
        numbers = run._save_predictions(test, predictions, [Report(others={"same": row}) for row in predictions])
        assert numbers["others"]["same"] == {"score": numbers["score"], "ci95": numbers["ci95"]}
        scores.append(numbers["score"])
        widths.append(numbers["ci95"][1] - numbers["ci95"][0])
    assert scores == [50.0, 50.0]
    assert widths[0] < 50 and widths[1] == pytest.approx(100)  # the second is all variation between seeds


def test_fine_tuning_learns_the_toy_task(tmp_path: Path) -> None:
    summary = train_pathway(small(StandardConfig, epochs=8), BACKBONE, toy_task(), out=tmp_path)
    assert summary["score"] > 80


def test_the_feature_extractor_leaves_the_network_alone_and_fits_the_head(tmp_path: Path) -> None:
    summary = train_pathway(small(FeatureExtractorConfig), BACKBONE, toy_task(), out=tmp_path)
    assert summary["score"] > 80 and summary["scores"][0] == summary["scores"][1]
    assert summary["per_seed"][0]["parameters_new_per_task"] == 64 * 3 + 3


def test_pictures_that_changed_since_are_not_taken_for_those_of_a_finished_run(tmp_path: Path) -> None:
    task = toy_task()
    names = [f"{number}.png" for number in range(len(task.train))]
    for number, name in enumerate(names):
        task.train.read(number).save(tmp_path / name)
    train = image_set(names, np.arange(len(names)) % 3, FileSource(tmp_path, tuple(names)))
    config, out = small(FeatureExtractorConfig), tmp_path / "out"
    train_pathway(config, BACKBONE, dataclasses.replace(task, train=train), out=out)
    task.train.read(1).save(tmp_path / names[0])
    with pytest.raises(ValueError, match="holds a run of another content"):
        train_pathway(config, BACKBONE, dataclasses.replace(task, train=train), out=out)


def test_a_finished_run_is_not_repeated_and_another_one_is_refused(tmp_path: Path) -> None:
    config = small(StandardConfig)
    first = train_pathway(config, BACKBONE, toy_task(), out=tmp_path)
    calls: list[object] = []
    again = train_pathway(config, BACKBONE, toy_task(), out=tmp_path, progress=lambda *r: calls.append(r))
    assert again == first and not calls
    with pytest.raises(ValueError, match="holds a run of another config"):
        train_pathway(small(StandardConfig, epochs=5), BACKBONE, toy_task(), out=tmp_path)
    with pytest.raises(ValueError, match="holds a run of another backbone"):
        train_pathway(config, "random:cifar_resnet8:1", toy_task(), out=tmp_path)


@pytest.mark.parametrize(("splits", "rates"), [("train+val", (0.05,)), ("train", (0.05, 0.01))])
@pytest.mark.parametrize("name", ["feature_extractor", "standard", "l2sp", "spottune", "blockdrop", "lesion"])
def test_the_bar_ends_full_and_its_length_never_changes(
    name: str, splits: str, rates: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transfer.pathways.stage.REPORT_EVERY_S", -1.0)
    one = {"l2_penalties": (1.0,)} if name == "feature_extractor" and len(rates) == 1 else {}
    one |= {"penalties": (1.0,)} if name == "blockdrop" and len(rates) == 1 else {}
    more = {"epochs": 1, "train_splits": splits, "seeds": (0,), "learning_rates": rates, "batch_size": 10, **one}
    reports: list[tuple[int, int, str]] = []
    task = toy_task(train=24, test=6, val=9)
    train_pathway(small(METHODS[name], **more), BACKBONE, task, out=tmp_path, progress=lambda *r: reports.append(r))
    steps = [(done, total) for done, total, note in reports if not note.startswith("decoding")]
    assert len(steps) >= 2 and {total for _, total in steps} == {steps[-1][1]}
    counted = [done for done, _ in steps]
    if name != "lesion":
        counted = counted[:-1]  # the last line says that it is done, whatever was counted
        assert steps[-1][0] == steps[-1][1]
    assert counted == list(range(1, steps[-1][1] + 1))


def test_a_run_that_goes_on_ends_with_a_full_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer.pathways.stage.REPORT_EVERY_S", -1.0)
    config, task = small(StandardConfig, epochs=1, learning_rates=(0.05, 0.01)), toy_task()

    def stop(done: int, total: int, note: str) -> None:
        if "final/seed=1" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pathway(config, BACKBONE, task, out=tmp_path, progress=stop)
    reports: list[tuple[int, int, str]] = []
    train_pathway(config, BACKBONE, task, out=tmp_path, progress=lambda *r: reports.append(r))
    steps = [(done, total) for done, total, note in reports if not note.startswith("decoding")]
    assert len(steps) < steps[-1][1] and steps[-1][0] == steps[-1][1] == 2 * 2 + 2 * 3


def test_a_policy_backbone_that_was_replaced_is_another_run(tmp_path: Path) -> None:
    path, out = tmp_path / "policy.safetensors", tmp_path / "out"
    changes = {"epochs": 1, "seeds": (0,), "curriculum_updates": 1, "joint_updates": 0, "policy_backbone": str(path)}
    config = small(BlockDropConfig, **changes)
    colours = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    summaries = []
    for seed in (0, 0, 1):
        network = build_gated_resnet("cifar_resnet8", num_classes=2, seed=seed)
        save_gated(path, network, "cifar_resnet8", **colours)  # type: ignore[arg-type]
        if seed:
            with pytest.raises(ValueError, match="holds a run of another policy_backbone"):
                train_pathway(config, BACKBONE, toy_task(), out=out)
        else:
            summaries.append(train_pathway(config, BACKBONE, toy_task(), out=out))
    assert summaries[0] == summaries[1] and summaries[0]["policy_backbone"].startswith("cifar_resnet8 sha256:")


@pytest.mark.parametrize("kind", [SpotTuneConfig, BlockDropConfig])
def test_an_interrupted_run_gives_the_same_result(
    kind: type[PathwayConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transfer.pathways.stage.REPORT_EVERY_S", -1.0)  # interrupt at a step, not at a moment
    config = small(kind, learning_rates=(0.05, 0.01), seeds=(0,))
    whole = train_pathway(config, BACKBONE, toy_task(), out=tmp_path / "whole")

    class Killed(BaseException):
        pass

    for stop in (3, 9):
        ticks = 0

        def killer(done: int, total: int, note: str, stop: int = stop) -> None:
            nonlocal ticks
            ticks += 1
            if ticks == stop:
                raise Killed

        with pytest.raises(Killed):
            train_pathway(config, BACKBONE, toy_task(), out=tmp_path / "cut", progress=killer)
        assert not (tmp_path / "cut" / "summary.json").exists()
    resumed = train_pathway(config, BACKBONE, toy_task(), out=tmp_path / "cut")
    assert resumed["scores"] == whole["scores"] and resumed["chosen"] == whole["chosen"]
    files = [(tmp_path / part / "predictions.safetensors").read_bytes() for part in ("whole", "cut")]
    assert files[0] == files[1]


def test_training_continues_from_a_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    pixels = load_pixels(toy_task().train, size=16)
    schedule = Schedule(epochs=4, batch_size=16, milestones=(0.5,), augment="crop_flip")

    def learner() -> FineTuning:
        network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
        return FineTuning(network, StandardConfig(), learning_rate=0.05)

    whole, stopped, resumed = learner(), learner(), learner()
    fit(whole, pixels, schedule, seed=3)
    steps = 0

    def stop(note: str) -> None:
        nonlocal steps
        steps += 1
        if steps == 8:  # in the middle of the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(stopped, pixels, schedule, seed=3, checkpoint=tmp_path / "c.pt", tick=stop, checkpoint_every_s=0.0)
    fit(resumed, pixels, schedule, seed=3, checkpoint=tmp_path / "c.pt")
    states = zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(value, other) for (_, value), other in states)


def test_the_task_s_own_validation_part_selects_and_then_trains(tmp_path: Path) -> None:
    config = small(StandardConfig, learning_rates=(0.05, 1e-6))
    summary = train_pathway(config, BACKBONE, toy_task(val=12), out=tmp_path)
    assert summary["n_validation"] == 12 and summary["n_train"] == 60
    assert summary["chosen"] == {"learning_rate": 0.05} and len(summary["selection"]) == 2


@pytest.mark.parametrize("kind", [FeatureExtractorConfig, LesionConfig])
@pytest.mark.parametrize(("val", "whole", "alone"), [(12, 60, 48), (0, 48, 33)])
def test_the_validation_part_can_be_left_out_of_the_final_networks(
    kind: type[PathwayConfig], val: int, whole: int, alone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(lesion, "fit", lambda _learner, pixels, *_rest, **_more: sizes.append(len(pixels)))
    for splits, count in (("train+val", whole), ("train", alone)):
        config = small(kind, train_splits=splits, seeds=(0,))
        summary = train_pathway(config, BACKBONE, toy_task(val=val), out=tmp_path / splits)
        assert (summary["n_train"], summary["n_validation"]) == (count, whole - alone)
        if kind is LesionConfig:
            assert sizes == [alone, count] * 2
            sizes.clear()


def test_a_network_that_was_fine_tuned_is_the_next_ones_frozen_copy(tmp_path: Path) -> None:
    """Pre-train a Decathlon network with one method, start another from it: the way from imagenet12 to a domain."""
    colours = {"channel_mean": (0.4, 0.5, 0.6), "channel_std": (0.2, 0.2, 0.3)}
    first = tmp_path / "standard"
    train_pathway(small(StandardConfig, epochs=1, **colours), "random:decathlon_resnet8", toy_task(), out=first)
    path = first / "backbone.safetensors"
    start = starting_point(small(SpotTuneConfig), path, num_classes=3)
    assert (start.mean, start.std) == tuple(colours.values())
    learner = SpotTune(start.network(0), None, RandomPolicyConfig(), learning_rate=0.1)
    weight = learner.frozen[2].residual[0].weight  # type: ignore[union-attr,index]
    assert torch.equal(weight, load_file(path)["blocks.2.residual.0.weight"])
    drawn = build_gated_resnet("decathlon_resnet8", num_classes=3, seed=0)
    assert not torch.equal(weight, drawn.blocks[2].residual[0].weight)  # type: ignore[union-attr,index]
    config = small(SpotTuneConfig, epochs=1, seeds=(0,))
    summary = train_pathway(config, path, toy_task(), out=tmp_path / "spottune")
    assert summary["backbone"] == start.source and not (tmp_path / "spottune" / "backbone.safetensors").exists()


def test_what_is_not_tuned_keeps_its_bits() -> None:
    pixels = load_pixels(toy_task().train, size=16)
    network = build_gated_resnet("cifar_resnet20", num_classes=3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner = FineTuning(network, Last2Config(), learning_rate=0.1, tuned_blocks=last_blocks(network, 2))
    fit(learner, pixels, Schedule(epochs=1, batch_size=16), seed=0)
    changed = {
        name.split(".")[0] + "." + name.split(".")[1]
        for name, value in network.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"blocks.7", "blocks.8", "head.weight", "head.bias"}
    with pytest.raises(ValueError, match="last 10 blocks of a network of 9"):
        last_blocks(network, 10)


def test_random_blocks_are_half_of_them_and_differ_between_seeds() -> None:
    network = build_gated_resnet("cifar_resnet20", num_classes=3, seed=0)
    sets = [random_blocks(network, 0.5, seed=seed) for seed in range(5)]
    assert all(len(chosen) == 4 for chosen in sets) and len(set(sets)) > 1
    assert len(random_blocks(network, 0.06, seed=0)) == 1
    with pytest.raises(ValueError, match=r"tuned_share is 0\.05; of 9 blocks that is none; allowed: more than 0\.0556"):
        random_blocks(network, 0.05, seed=0)


def test_the_weight_of_the_pull_is_chosen_on_the_validation_part(tmp_path: Path) -> None:
    config = small(L2SPConfig, l2_sp_weights=(1e30, 1e-3), seeds=(0,))  # so strong a pull diverges
    summary = train_pathway(config, BACKBONE, toy_task(), out=tmp_path)
    assert [(row["l2_sp"], row["accuracy"] is None) for row in summary["selection"]] == [(1e30, True), (1e-3, False)]
    assert summary["chosen"] == {"learning_rate": 0.05, "l2_sp": 1e-3}
    with pytest.raises(ValueError, match=r"l2_sp_weights is .*allowed: at least one, all positive"):
        L2SPConfig(l2_sp_weights=(0.0,))


def test_l2_sp_holds_the_weights_near_their_start() -> None:
    pixels = load_pixels(toy_task().train, size=16)
    moved = []
    for weight in (0.0, 1.0):
        network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
        start = network.blocks[0].residual[0].weight.detach().clone()  # type: ignore[union-attr,index]
        learner = FineTuning(network, L2SPConfig(weight_decay=0.0), learning_rate=0.05, l2_sp=weight)
        fit(learner, pixels, Schedule(epochs=4, batch_size=16), seed=0)
        moved.append(float((network.blocks[0].residual[0].weight.detach() - start).norm()))  # type: ignore[union-attr,index]
    assert moved[1] < 0.7 * moved[0]


def test_l2_sp_penalty_is_half_alpha_times_the_squared_distance() -> None:
    network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0).eval()
    learner = FineTuning(network, L2SPConfig(), learning_rate=0.1, l2_sp=0.5).eval()
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([0, 1])
    unused = torch.Generator()
    before = learner.loss(images, labels, unused)
    network.blocks[2].residual[4].bias.data += 2.0  # type: ignore[union-attr,index]
    plain = torch.nn.functional.cross_entropy(learner(images), labels)
    assert float((learner.loss(images, labels, unused) - plain).detach()) == pytest.approx(0.25 * 64 * 4, rel=1e-5)
    assert float(before.detach()) < 100


def test_schedule_and_the_original_s_bug() -> None:
    right = Schedule(epochs=110, batch_size=1, milestones=(40 / 110, 60 / 110, 80 / 110))
    bug = dataclasses.replace(right, lr_bug_compat=True)
    epochs = (0, 39, 40, 59, 60, 79, 80, 109)
    assert [round(right.factor(epoch), 6) for epoch in epochs] == [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert [bug.factor(epoch) for epoch in epochs] == [1, 1, *[0.1] * 6]


def test_divergence_is_an_error() -> None:
    pixels = load_pixels(toy_task().train, size=16)
    network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
    learner = FineTuning(network, StandardConfig(), learning_rate=1e30)
    with pytest.raises(Diverged, match="training diverged"):
        fit(learner, pixels, Schedule(epochs=2, batch_size=16), seed=0)


def test_a_candidate_that_diverges_is_not_chosen(tmp_path: Path) -> None:
    config = small(StandardConfig, learning_rates=(1e30, 0.05))
    summary = train_pathway(config, BACKBONE, toy_task(), out=tmp_path)
    assert summary["chosen"] == {"learning_rate": 0.05} and summary["selection"][0]["accuracy"] is None


def test_phases_that_are_through_are_not_repeated(tmp_path: Path) -> None:
    pixels = load_pixels(toy_task().train, size=16)
    steps: list[str] = []
    for _ in range(2):
        network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
        learner = FineTuning(network, StandardConfig(), learning_rate=0.05)
        fit(learner, pixels, Schedule(epochs=1, batch_size=16), seed=0, checkpoint=tmp_path / "c", tick=steps.append)
    assert len(steps) == 3


def test_a_decathlon_domain_runs_through_the_same_stage(tmp_path: Path) -> None:
    folder = tmp_path / "decathlon" / "annotations"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        rows = []
        for number in range(count):
            array = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / "decathlon" / f"{split}{number}.png")
            rows.append({"id": number, "file_name": f"{split}{number}.png"})
        content = {
            "images": rows,
            "annotations": [{"image_id": number, "category_id": 1 + number % 2} for number in range(count)],
            "categories": [{"id": 1, "name": "no person"}, {"id": 2, "name": "person"}],
        }
        (folder / f"daimlerpedcls_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    config = small(FeatureExtractorConfig, channel_mean=(0.5, 0.5, 0.5), channel_std=(0.25, 0.25, 0.25))
    summary = train_pathway(config, BACKBONE, "decathlon:daimlerpedcls", out=tmp_path / "out", root=tmp_path)
    assert (summary["n_train"], summary["n_validation"], summary["n_test"]) == (18, 6, 6)


@pytest.mark.realdata
def test_a_real_folder_is_a_task(tmp_path: Path) -> None:
    folder = Path(__file__).parents[3] / "shared" / "data" / "downstream" / "pneumoniamnist"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    config = small(SpotTuneConfig, epochs=1, batch_size=64, seeds=(0,), size=24)
    summary = train_pathway(config, BACKBONE, folder, out=tmp_path)
    assert summary["n_test"] == 300 and summary["score"] > 40


def test_views_are_reproducible_and_what_does_not_fit_into_memory_is_decoded_on_the_way() -> None:
    images = toy_task(size=40).train
    kept = load_pixels(images, size=16)
    streamed = load_pixels(images, size=16, memory_limit_bytes=0)
    assert kept.stored is not None and streamed.stored is None and kept.margin == 2
    rows = torch.tensor([5, 1, 7])
    for augment in ("none", "crop", "crop_flip"):
        views = [p.view(rows, augment, torch.Generator().manual_seed(1)) for p in (kept, kept, streamed)]  # type: ignore[arg-type]
        assert torch.equal(views[0], views[1]) and torch.equal(views[0], views[2])
        assert views[0].shape == (3, 3, 16, 16) and abs(float(views[0].mean())) < 3
    whole = load_pixels(images, size=16, evaluate_whole=True)
    assert next(iter(whole.in_order(4)))[1].shape == (4, 3, 18, 18) and whole.evaluation_shape == (18, 18)


def test_order_of_predictions_is_the_order_of_the_images() -> None:
    task = toy_task()
    pixels = load_pixels(task.train, size=16)
    network = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
    learner = FineTuning(network, StandardConfig(), learning_rate=0.1)
    whole, parts = (predict_all(learner, pixels, seed=0, batch_size=size) for size in (48, 7))
    torch.testing.assert_close(whole.probabilities, parts.probabilities, rtol=1e-4, atol=1e-6)
    assert torch.equal(whole.labels, torch.from_numpy(task.train.labels))


def test_bad_input_gets_one_clear_line(tmp_path: Path) -> None:
    config = small(StandardConfig)
    for backbone, error, message in (
        ("random:mobilenet_v2", ValueError, "is no torchvision-style ResNet"),
        ("random:cifar_resnet8:x", ValueError, "the seed 'x' is no number"),
        (str(tmp_path / "absent.safetensors"), FileNotFoundError, "no such file"),
    ):
        with pytest.raises(error, match=message):
            train_pathway(config, backbone, toy_task(), out=tmp_path / "out")
    with pytest.raises(ValueError, match="say where its files lie"):
        train_pathway(config, BACKBONE, "decathlon:svhn", out=tmp_path / "out")
    for changes, message in (
        ({"size": 4}, "size is 4"),
        ({"learning_rates": ()}, "learning_rates is"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"seeds": (0, 0)}, "seeds is"),
        ({"seeds": (0, -1)}, r"seeds is \(0, -1\); allowed: none negative"),
        ({"milestones": (1.5,)}, "milestones is"),
        ({"precision": "bf16"}, "above 16"),
        ({"resize": 8}, "resize is 8"),
        ({"channel_mean": (0.5, 0.5, 0.5)}, "give both or none"),
    ):
        with pytest.raises(ValueError, match=message):
            small(StandardConfig, **changes)


@pytest.mark.parametrize(
    ("batch_size", "images", "steps"), [(2, 4, 2), (2, 5, 2), (3, 5, 2), (4, 5, 1), (4, 6, 2), (8, 3, 1), (2, 2, 1)]
)
def test_a_last_batch_needs_half_its_images_and_two(batch_size: int, images: int, steps: int) -> None:
    assert Schedule(epochs=1, batch_size=batch_size).steps(images) == steps


def test_a_plain_net_that_diverges_at_the_end_takes_the_next_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, diverging = lesion.fit, [0.05]

    def fails(learner: FineTuning, *given: Any, seed: int, **more: Any) -> None:
        if learner.network.blocks[0].plain and seed == 1 and learner.learning_rate in diverging:
            raise Diverged("weights are not finite")
        inner(learner, *given, seed=seed, **more)

    monkeypatch.setattr(lesion, "fit", fails)
    config = small(LesionConfig, seeds=(0, 1), learning_rates=(0.05, 1e-6), epochs=1)
    monkeypatch.setattr(lesion, "accuracy", lambda *given, **more: 50.0)  # the first rate is the best
    summary = train_pathway(config, BACKBONE, toy_task(), out=tmp_path / "a")
    rates = (summary["resnet"]["learning_rate"], summary["plain"]["learning_rate"])
    said = "plain: diverged at learning rate 0.05 on all training images; the next best was taken"
    assert rates == (0.05, 1e-6) and said in summary["notes"]
    diverging.append(1e-6)
    with pytest.raises(
        Diverged, match=r"plain: training diverged at every learning rate \(0\.05, 1e-06\); give smaller"
    ):
        train_pathway(config, BACKBONE, toy_task(), out=tmp_path / "b")


def test_the_lesion_study_sees_images_and_parts_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mean, std, seen = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), []
    inner = lesion.lesion_study

    def study(network: GatedResNet, pixels: Pixels, **more: Any) -> Any:
        seen.append((pixels.mean, pixels.std, next(iter(pixels.in_order(4)))[1].shape))
        return inner(network, pixels, **more)

    monkeypatch.setattr(lesion, "lesion_study", study)
    config = small(LesionConfig, epochs=1, draws=1, resize=20, evaluate_whole=True, channel_mean=mean, channel_std=std)
    summary = train_pathway(config, "unused", toy_task(val=12, size=24), out=tmp_path)
    assert (summary["n_train"], summary["n_validation"], summary["n_test"]) == (60, 12, 24)
    assert seen == [(mean, std, (4, 3, 20, 20))] * 2


def test_lesion_stage_leaves_curves_of_both_networks(tmp_path: Path) -> None:
    summary = train_pathway(small(LesionConfig), "unused", toy_task(), out=tmp_path)
    curves = json.loads((tmp_path / "lesion.json").read_text(encoding="utf-8"))
    for kind in ("resnet", "plain"):
        (study,) = curves[kind]["studies"]
        assert len(study["single"]) == 9 and len(study["random_sets"]) == len(study["sequences"]) == 8
        assert summary[kind]["full"] == study["full"]
        low, high = summary[kind]["ci95"]
        assert [[low, high]] == curves[kind]["ci95"]["full"] and low <= study["full"] <= high
        assert len(curves[kind]["ci95"]["single"]) == 9 and len(curves[kind]["ci95"]["random_sets"]) == 8
        assert study["shuffles"][0]["swaps"] == 1 and study["shuffles"][0]["kendall_tau"] < 1
    assert summary["notes"] == ["the lesion study trained networks of its own, the backbone was not looked at"]
