"""Feature extraction: eval mode, order, broken files, resuming, and what is left on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import nn

import transfer.features
from pretrain.checkpoint import load_backbone
from transfer.content import content_digest
from transfer.data import ArraySource, ImageSet, RangeSource, Task, image_set
from transfer.features import FeatureConfig, embed_images, extract_features
from transfer.score import ScoreConfig, final
from transfer.splits import parse_index

SMALL = FeatureConfig(size=16, resize=16)


class Probe(nn.Module):
    """A tiny backbone whose features would depend on the batch, and on chance, in train mode."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.images_seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images_seen += len(images)
        features: torch.Tensor = self.drop(self.norm(self.conv(images)).relu()).flatten(2)
        return torch.cat([features.mean(2), features.amax(2)], dim=1)


def pictures(count: int, seed: int = 0) -> ImageSet:
    arrays = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return image_set([f"{i:05d}" for i in range(count)], np.arange(count) % 2, ArraySource(arrays))


def toy_task(count: int = 20, groups: bool = False) -> Task:
    train, test = pictures(count), pictures(6, seed=1)
    if groups:
        names = np.array([f"patient {i // 4}" for i in range(count)])
        train = image_set(train.names, train.labels, train.source, groups=names)
    return Task("toy", ("a", "b"), train, test)


def files_task(root: Path, count: int = 20, broken: int = 0) -> Path:
    for split in ("train", "test"):
        for i in range(count):
            path = root / split / "ab"[i % 2] / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 10 * i, dtype=np.uint8)).save(path)
            if split == "train" and i < broken:
                path.write_bytes(path.read_bytes()[:40])
    return root


def test_features_do_not_depend_on_the_batch_although_the_model_came_in_train_mode() -> None:
    images, model = pictures(23), Probe().train()
    whole = embed_images(model, images, SMALL, batch_size=23)
    alone = embed_images(model.train(), images, SMALL, batch_size=1)
    torch.testing.assert_close(whole.features, alone.features, rtol=1e-5, atol=1e-6)
    assert not any(module.training for module in model.modules())
    assert int(model.norm.num_batches_tracked or 0) == 0


def test_features_follow_their_images_in_any_order() -> None:
    images, model = pictures(23), Probe()
    order = np.random.default_rng(0).permutation(23)
    straight = embed_images(model, images, SMALL).features
    shuffled = embed_images(model, images.select(order), SMALL).features
    torch.testing.assert_close(straight[order], shuffled, rtol=1e-5, atol=1e-6)


def test_train_mode_would_have_been_seen_by_this_test() -> None:
    images, model = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), Probe().train()
    assert not torch.allclose(model(images)[:1], model(images[:1]), atol=1e-3)


@pytest.mark.xdist_group("forkserver")
def test_worker_processes_give_the_same_features() -> None:
    images, model = pictures(9), Probe()
    here = embed_images(model, images, SMALL, batch_size=4)
    there = embed_images(model, images, SMALL, batch_size=4, workers=1)
    assert torch.equal(here.features, there.features)


def test_the_stage_leaves_features_an_index_and_a_summary(tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    summary = extract_features(
        SMALL, Probe(), toy_task(groups=True), out=tmp_path / "f", progress=lambda *call: calls.append(call)
    )
    tensors = load_file(tmp_path / "f" / "features.safetensors")
    assert tensors["train.x"].shape == (20, 12) and tensors["test.x"].shape == (6, 12)
    assert tensors["train.group"].tolist() == [i // 4 for i in range(20)] and not tensors["train.val"].any()
    rows = parse_index((tmp_path / "f" / "index.csv").read_text(encoding="utf-8"))
    assert [row.split for row in rows] == ["train"] * 20 + ["test"] * 6
    assert summary == json.loads((tmp_path / "f" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["n_train"], summary["n_val"], summary["n_test"], summary["feature_dim"]) == (20, 0, 6, 12)
    assert calls[-1][:2] == (26, 26) and [call[0] for call in calls] == sorted(call[0] for call in calls)
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        "features.safetensors",
        "index.csv",
        "summary.json",
    ]


def test_a_finished_directory_is_returned_and_another_configuration_is_refused(tmp_path: Path) -> None:
    first = extract_features(SMALL, Probe(), toy_task(), out=tmp_path)
    model = Probe()
    assert extract_features(SMALL, model, toy_task(), out=tmp_path) == first and model.images_seen == 0
    with pytest.raises(ValueError, match="another config"):
        extract_features(FeatureConfig(size=16, resize=20), Probe(), toy_task(), out=tmp_path)


def test_a_finished_directory_of_other_images_is_refused(tmp_path: Path) -> None:
    task = files_task(tmp_path / "here" / "task")
    first = extract_features(SMALL, Probe(), task, out=tmp_path / "f")
    moved = files_task(tmp_path / "there" / "task")  # the same bytes at another place and time
    model = Probe()
    assert extract_features(SMALL, model, moved, out=tmp_path / "f") == first and model.images_seen == 0
    for split in ("train", "test"):
        edited = files_task(tmp_path / f"edited {split}" / "task")
        Image.fromarray(np.full((16, 16, 3), 255, dtype=np.uint8)).save(edited / split / "a" / "004.png")
        with pytest.raises(ValueError, match="features of another content; choose another directory"):
            extract_features(SMALL, Probe(), edited, out=tmp_path / "f")


def test_the_content_of_a_task_from_shards_is_that_of_its_tars(tmp_path: Path) -> None:
    tar = tmp_path / "a.tar"
    tar.write_bytes(b"first, second")
    images = image_set(["0", "1"], [0, 1], RangeSource(((tar, 0, 5), (tar, 7, 6))))
    before = content_digest(Task("toy", ("a", "b"), images, images))
    assert before is not None and before == content_digest(Task("other", ("a", "b"), images, images))
    tar.write_bytes(b"first, third ")
    assert content_digest(Task("toy", ("a", "b"), images, images)) != before
    assert content_digest(toy_task()) is None


def test_an_interrupted_extraction_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.features, "PART_IMAGES", 8)
    whole = extract_features(SMALL, Probe(), toy_task(), out=tmp_path / "whole")

    def stop_late(done: int, total: int, note: str) -> None:
        if done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(SMALL, Probe(), toy_task(), out=tmp_path / "cut", batch_size=4, progress=stop_late)
    assert not (tmp_path / "cut" / "summary.json").exists()
    model = Probe()
    assert extract_features(SMALL, model, toy_task(), out=tmp_path / "cut") == whole
    assert model.images_seen == 26 - 16
    one, two = (load_file(tmp_path / d / "features.safetensors")["train.x"] for d in ("whole", "cut"))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_a_few_broken_files_are_skipped_and_listed(tmp_path: Path) -> None:
    config = FeatureConfig(size=16, resize=16, max_unreadable=0.1)
    summary = extract_features(config, Probe(), files_task(tmp_path / "task", broken=2), out=tmp_path / "f")
    assert [name for name, _ in summary["skipped"]["train"]] == ["train/a/000.png", "train/b/001.png"]
    assert summary["n_train"] == 18 and len(load_file(tmp_path / "f" / "features.safetensors")["train.y"]) == 18


@pytest.mark.parametrize(("broken", "message"), [(3, "3 of 20 train images are unreadable"), (20, "none of the 20")])
def test_too_many_broken_files_are_an_error(tmp_path: Path, broken: int, message: str) -> None:
    config = FeatureConfig(size=16, resize=16, max_unreadable=0.1)
    with pytest.raises(ValueError, match=message):
        extract_features(config, Probe(), files_task(tmp_path / "task", broken=broken), out=tmp_path / "f")
    assert not (tmp_path / "f" / "summary.json").exists()


class Overflowing(Probe):
    """Its features of bright images are NaN."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean((1, 2, 3)) > 0
        return torch.where(bright[:, None], torch.nan, super().forward(images))


@pytest.mark.parametrize("split", ["train", "test"])
def test_features_that_are_not_finite_are_refused_with_the_image(tmp_path: Path, split: str) -> None:
    dark = ArraySource(np.zeros((6, 16, 16, 3), dtype=np.uint8))
    one_bright = ArraySource(
        np.zeros((6, 16, 16, 3), dtype=np.uint8) + np.uint8(255) * (np.arange(6) == 4)[:, None, None, None]
    )
    parts = {name: image_set([f"{name}/{i}" for i in range(6)], np.arange(6) % 2, dark) for name in ("train", "test")}
    parts[split] = dataclasses.replace(parts[split], source=one_bright)
    with pytest.raises(
        ValueError, match=rf"^backbone Overflowing: .* of 1 of 6 images .*not finite .first: {split}/4.$"
    ):
        extract_features(SMALL, Overflowing(), Task("toy", ("a", "b"), **parts), out=tmp_path / "f")
    assert not (tmp_path / "f" / "summary.json").exists()


def test_bf16_features_are_close_to_fp32_ones() -> None:
    images, model = pictures(10), Probe()
    exact = embed_images(model, images, SMALL).features
    fast = embed_images(model, images, FeatureConfig(size=16, resize=16, precision="bf16")).features
    assert fast.dtype == torch.float32
    torch.testing.assert_close(exact, fast, rtol=0.05, atol=0.02)


def test_backbones_are_found_by_name(tmp_path: Path) -> None:
    config = FeatureConfig(size=32, resize=32)
    summary = extract_features(config, "random:resnet18", toy_task(), out=tmp_path / "a")
    assert summary["feature_dim"] == 512 and summary["backbone"].startswith("resnet18")
    with pytest.raises(FileNotFoundError):
        extract_features(config, os.fspath(tmp_path / "absent.safetensors"), toy_task(), out=tmp_path / "b")


@pytest.mark.parametrize("arch", ["resnet18", "test_resnet"])
@pytest.mark.parametrize(("stage", "pool"), [(1, "avg"), (2, "gem"), (3, "avg"), (4, "avg")])
def test_a_stage_is_the_pooled_output_of_its_layer(
    tmp_path: Path, arch: str, stage: int, pool: Literal["avg", "gem"]
) -> None:
    name, task = f"random:{arch}", toy_task()
    plain = FeatureConfig(size=32, resize=32)
    summary = extract_features(dataclasses.replace(plain, stage=stage, pool=pool), name, task, out=tmp_path / "stage")
    model, info = load_backbone(name)
    seen: list[torch.Tensor] = []

    def pooled(*given: Any) -> None:
        power = 3.0 if pool == "gem" else 1.0
        seen.append((given[2].double() ** power).mean((2, 3)).float() ** (1 / power))

    model.get_submodule(f"layer{stage}").register_forward_hook(pooled)
    last = embed_images(model, task.train, plain, normalisation=(info.mean, info.std)).features
    found = torch.from_numpy(load_file(tmp_path / "stage" / "features.safetensors")["train.x"])
    torch.testing.assert_close(found, torch.cat(seen), rtol=1e-4, atol=1e-5)
    assert summary["feature_dim"] == found.shape[1]
    if stage == 4:
        torch.testing.assert_close(found, last, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="another config"):
        extract_features(plain, name, task, out=tmp_path / "stage")


def test_networks_that_may_not_run_part_by_part_have_no_stages(tmp_path: Path) -> None:
    config = FeatureConfig(size=32, resize=32, stage=3)
    with pytest.raises(
        ValueError, match=r"^backbone random:densenet121: DenseNet has no stage 3; allowed: stages 1 to 4 of"
    ):
        extract_features(config, "random:densenet121", toy_task(), out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"^backbone Probe: Probe has no stage 3; allowed: stages 1 to 4 of a ResNet$"):
        extract_features(config, Probe(), toy_task(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"size": 64, "resize": 32},
        {"size": 4},
        {"stage": 5},
        {"pool": "gem"},
        {"pool": "max", "stage": 3},
        {"max_unreadable": 1.0},
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        FeatureConfig(**options)  # type: ignore[arg-type]


def test_names_of_an_old_encoding_are_kept(tmp_path: Path) -> None:
    folder = files_task(tmp_path / os.fsdecode(b"t\xe2che"))
    for split in ("train", "test"):
        (folder / split / "a").rename(folder / split / os.fsdecode(b"caf\xe9"))
    for _ in range(2):  # the second time it is found finished
        summary = extract_features(SMALL, Probe(), folder, out=tmp_path / "out")
        assert summary["task"] == "t\udce2che" and summary["classes"] == ["b", "caf\udce9"]
    assert json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8")) == summary
    rows = parse_index((tmp_path / "out/index.csv").read_text(encoding="utf-8"))
    assert len(rows) == 40 and "train/caf\\udce9/000.png" in {row.name for row in rows}
    scored = final(ScoreConfig(method="knn"), tmp_path / "out", out=tmp_path / "score")
    assert scored["task"] == "t\udce2che" and "\\udce2" in (tmp_path / "score/summary.json").read_text(encoding="utf-8")
