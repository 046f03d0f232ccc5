"""Visual Decathlon: the score's anchors, and the reader on generated files in the challenge's layout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from transfer.data import ArraySource, FileSource, ImageSet, Task, image_set
from transfer.pathways.config import SpotTuneConfig
from transfer.pathways.cost import network_cost
from transfer.pathways.decathlon import (
    BASELINE,
    CLASSES,
    channel_statistics,
    decathlon_points,
    decathlon_score,
    load_domain,
    spottune_settings,
)
from transfer.pathways.pixels import Pixels, joined, load_pixels
from transfer.pathways.resnet import build_gated_resnet
from transfer.pathways.stage import train_pathway

PUBLISHED = {
    "SpotTune": ((60.32, 63.91, 80.48, 96.49, 57.13, 99.52, 85.22, 88.84, 96.72, 52.34), 3612),
    "Parallel RA": ((60.32, 64.21, 81.92, 94.73, 58.83, 99.38, 84.68, 89.21, 96.54, 50.94), 3412),
    "RA large": ((67.00, 67.69, 84.69, 94.28, 59.41, 97.43, 84.86, 89.92, 96.59, 52.39), 3131),
    "RA decay": ((59.67, 61.87, 81.20, 93.88, 57.13, 97.57, 81.67, 89.62, 96.13, 50.12), 2621),
    "RA finetune all": ((59.23, 63.73, 81.31, 93.30, 57.02, 97.47, 83.43, 89.82, 96.17, 50.28), 2643),
    "Scratch": ((59.87, 57.10, 75.73, 91.20, 37.77, 96.55, 56.30, 88.74, 96.63, 43.27), 1625),
    "Scratch+": ((59.67, 59.59, 76.08, 92.45, 39.63, 96.90, 56.66, 88.74, 96.78, 44.17), 1826),
    "Series RA": ((60.32, 61.87, 81.22, 93.88, 57.13, 99.27, 81.67, 89.62, 96.57, 50.12), 3159),
    "LwF": ((59.87, 61.15, 82.23, 92.34, 58.83, 97.57, 83.05, 88.08, 96.10, 50.04), 2515),
    "PiggyBack": ((57.69, 65.29, 79.87, 96.99, 57.45, 97.27, 79.09, 87.63, 97.24, 47.48), 2838),
    "DAN": ((57.74, 64.12, 80.07, 91.30, 56.54, 98.46, 86.05, 89.67, 96.77, 49.48), 2851),
}
"""Rows of SpotTune's table whose accuracies and score agree; domains in the order of `CLASSES`."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows(name: str) -> None:
    accuracies, printed = PUBLISHED[name]
    assert decathlon_score(dict(zip(CLASSES, accuracies, strict=True))) == pytest.approx(printed, abs=3)


def test_anchors_of_the_score() -> None:
    assert decathlon_score(BASELINE) == pytest.approx(2500.0)
    assert decathlon_score(dict.fromkeys(CLASSES, 100.0)) == pytest.approx(10000.0)
    assert decathlon_score(dict.fromkeys(CLASSES, 0.0)) == 0.0
    assert decathlon_points("svhn", 100 - 2 * 3.45) == pytest.approx(0.0, abs=1e-9)


def test_a_missing_or_unknown_domain_is_named() -> None:
    with pytest.raises(ValueError, match="missing: ucf101"):
        decathlon_score({domain: 50.0 for domain in CLASSES if domain != "ucf101"})
    with pytest.raises(ValueError, match="unknown domain 'mnist'; allowed: imagenet12"):
        decathlon_points("mnist", 50.0)


def write_domain(root: Path, *, test_labels: bool, domain: str = "daimlerpedcls", first: int = 1) -> None:
    folder = root / "decathlon"
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 6)):
        images, annotations = [], []
        for number in range(count):
            name = f"data/{domain}/{split}/{number:06d}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / name)
            images.append({"id": 1000 + number, "file_name": name, "width": 20, "height": 20})
            annotations.append({"id": number, "image_id": 1000 + number, "category_id": first + number % 2})
        content: dict[str, object] = {"images": images}
        content["categories"] = [{"id": first + i, "name": name} for i, name in enumerate(("no person", "person"))]
        if split != "test" or test_labels:
            content["annotations"] = annotations
        (folder / "annotations" / f"{domain}_{split}.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("first", [0, 1, 10])
def test_labels_start_at_zero_whatever_the_category_ids(tmp_path: Path, first: int) -> None:
    write_domain(tmp_path, test_labels=True, first=first)
    task = load_domain("daimlerpedcls", root=tmp_path)
    assert task.name == "decathlon:daimlerpedcls" and task.classes == ("no person", "person")
    assert task.val is not None and (len(task.train), len(task.val), len(task.test)) == (8, 4, 6)
    assert task.train.labels.tolist() == [0, 1] * 4
    assert task.train.read(3).size == (20, 20)


def test_the_training_file_says_what_a_category_is(tmp_path: Path) -> None:
    write_domain(tmp_path, test_labels=True, first=3)
    path = tmp_path / "decathlon" / "annotations" / "daimlerpedcls_val.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["annotations"]:
        row["category_id"] = 4
    for categories in ([{"id": 4, "name": "person"}], []):
        path.write_text(json.dumps({**content, "categories": categories}), encoding="utf-8")
        task = load_domain("daimlerpedcls", root=tmp_path)
        assert task.val is not None and task.val.labels.tolist() == [1] * 4
    for category, said in (({"id": 4, "name": "no person"}, "'person'"), ({"id": 5, "name": "dog"}, "nothing")):
        path.write_text(json.dumps({**content, "categories": [category]}), encoding="utf-8")
        with pytest.raises(ValueError, match=f"category {category['id']} is '{category['name']}', in the .* {said}"):
            load_domain("daimlerpedcls", root=tmp_path)


def test_without_test_labels_the_validation_part_is_the_test_split(tmp_path: Path) -> None:
    write_domain(tmp_path, test_labels=False)
    task = load_domain("daimlerpedcls", root=tmp_path)
    assert task.val is None and len(task.test) == 4 and "val is the test split" in task.notes[0]


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dtd_train\.json: no such file"):
        load_domain("dtd", root=tmp_path)
    write_domain(tmp_path, test_labels=True)
    path = tmp_path / "decathlon" / "annotations" / "daimlerpedcls_val.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "annotations": content["annotations"][1:]}), encoding="utf-8")
    with pytest.raises(ValueError, match="1 images have no annotation, first data/daimlerpedcls/val/000000"):
        load_domain("daimlerpedcls", root=tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="is no annotation file: KeyError 'images'"):
        load_domain("daimlerpedcls", root=tmp_path)
    content["images"][0]["file_name"] = "../../secret.png"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="points outside"):
        load_domain("daimlerpedcls", root=tmp_path)
    write_domain(tmp_path, test_labels=True, domain="svhn")
    with pytest.raises(ValueError, match="svhn has 10 classes"):
        load_domain("svhn", root=tmp_path)


def test_pedestrians_are_only_resized(tmp_path: Path) -> None:
    """Pictures twice as high as wide: training and evaluation see all of them, and FLOPs are counted on all of them."""
    statistics = {name: {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]} for name in CLASSES}
    (tmp_path / "decathlon_mean_std.json").write_text(json.dumps(statistics), encoding="utf-8")
    configs = {name: spottune_settings(name, root=tmp_path) for name in CLASSES}
    assert [name for name, config in configs.items() if config.uncut] == ["daimlerpedcls"]
    rows = np.repeat(np.arange(48, dtype=np.uint8)[None, :, None, None], 5, axis=0)
    arrays = np.broadcast_to(rows * 5, (5, 48, 24, 3)).copy()
    images = image_set([str(i) for i in range(5)], np.arange(5) % 2, ArraySource(arrays))
    config = configs["daimlerpedcls"]
    seen = []
    for limit in (1 << 30, 0):  # kept in memory, and decoded on the way
        pixels = load_pixels(
            images, size=config.size, resize=config.resize, evaluate_whole=True, uncut=True, memory_limit_bytes=limit
        )
        assert (pixels.stored is None) is (limit == 0) and pixels.evaluation_shape == (144, 72)
        trained = pixels.view(torch.arange(5), config.augment, torch.Generator())
        (_, evaluated), *more = pixels.in_order(8)
        assert trained.shape == (5, 3, 144, 72) and torch.equal(trained, evaluated) and not more
        seen.append(trained)
    assert torch.equal(*seen)
    heights = seen[0][0, 0, :, 0]
    assert heights[0] < heights[36] < heights[-37] < heights[-1]  # top and bottom are there
    arrays[:, :, :] = 0
    mixed = [Image.fromarray(arrays[0]), Image.fromarray(arrays[0, :30])]
    for number, image in enumerate(mixed):
        image.save(tmp_path / f"{number}.png")
    files = ("0.png", "1.png")
    pair = image_set(files, np.arange(2), FileSource(tmp_path, files))
    with pytest.raises(ValueError, match=r"1\.png is 90 x 72 after resizing, the first picture 144 x 72; uncut"):
        load_pixels(pair, size=72, resize=72, uncut=True)
    shapes = [load_pixels(pair.select(np.array([row])), size=72, resize=72, uncut=True) for row in (0, 1)]
    with pytest.raises(ValueError, match=r"training pictures are \(144, 72\) after resizing, .* \(90, 72\)"):
        joined(*shapes)
    with pytest.raises(ValueError, match="augment is crop; allowed with uncut pictures: none"):
        SpotTuneConfig(uncut=True)


def striped(shapes: list[tuple[int, int]]) -> ImageSet:
    """Pictures of these (height, width) whose red is the row and whose green is the column."""
    pictures = []
    for height, width in shapes:
        rows, columns = np.mgrid[:height, :width]
        pictures.append(np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8))
    return image_set([str(i) for i in range(len(shapes))], np.arange(len(shapes)) % 2, PictureSource(pictures))


@dataclass(frozen=True)
class PictureSource:
    """Pictures of different shapes."""

    pictures: list[np.ndarray]

    def read(self, row: int) -> Image.Image:
        return Image.fromarray(self.pictures[row])


def corners(pixels: Pixels, rows: Tensor, generator: torch.Generator) -> np.ndarray:
    """(y, x) of the crops' first pixels in `striped` pictures. (B, 2)."""
    cut = pixels.view(rows, "crop", generator)[:, :2, 0, 0]
    back = cut * 255 * torch.tensor(pixels.std[:2]) + 255 * torch.tensor(pixels.mean[:2])
    return back.round().int().numpy()


def test_training_crops_come_from_the_whole_picture() -> None:
    """Side 72: from a picture 72 x 120 crops of 64 start anywhere up to column 56, not within 24 and 32 alone."""
    images = striped([(72, 120), (120, 72), (72, 72)])
    square, wide = (load_pixels(images, size=64, resize=72, evaluate_whole=True, wide=on) for on in (False, True))
    assert (square.wide, wide.wide) == (False, True)
    rows = torch.arange(3).repeat_interleave(120)
    found = corners(wide, rows, torch.Generator().manual_seed(0)).reshape(3, 120, 2)
    assert found.min(axis=1).max() < 6
    ends = found.max(axis=1)
    assert ends[[0, 1, 2, 2], [0, 1, 0, 1]].tolist() == [8, 8, 8, 8] and all(
        50 < end <= 56 for end in ends[[0, 1], [1, 0]]
    )
    inner = corners(square, rows, torch.Generator().manual_seed(0)).reshape(3, 120, 2)
    assert (inner.min(axis=1)[0].tolist(), inner.max(axis=1)[0].tolist()) == ([0, 24], [8, 32])
    for one, other in zip(square.in_order(2), wide.in_order(2), strict=True):  # evaluation: the central square
        assert torch.equal(one[1], other[1])
    part = joined(wide.select(np.array([2])), load_pixels(striped([(72, 72)]), size=64, resize=72, wide=True))
    assert part.wide and part.view(torch.arange(2), "crop", torch.Generator()).shape == (2, 3, 64, 64)


def test_crops_of_square_pictures_are_the_same_bits_either_way() -> None:
    images = striped([(80, 80), (72, 72), (100, 100)])
    one, other = (load_pixels(images, size=64, resize=72, wide=on) for on in (False, True))
    rows = torch.tensor([2, 0, 1, 1])
    views = [p.view(rows, "crop_flip", torch.Generator().manual_seed(3)) for p in (one, other)]
    assert not other.wide and torch.equal(*views)


def test_flops_are_counted_on_uncut_pictures(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 255, (12, 32, 16, 3), dtype=np.uint8)
    images = image_set([str(i) for i in range(12)], np.arange(12) % 2, ArraySource(arrays))
    task = Task("tall", ("no person", "person"), images, images)
    shared = {"size": 16, "resize": 16, "uncut": True, "augment": "none", "epochs": 1, "batch_size": 6, "seeds": (0,)}
    config = SpotTuneConfig(**shared, learning_rates=(0.05,), policy_shrink=1)  # type: ignore[arg-type]
    summary = train_pathway(config, "random:cifar_resnet8", task, out=tmp_path)
    network = build_gated_resnet("cifar_resnet8", num_classes=2, seed=0)
    row = summary["per_seed"][0]
    assert row["flops_plain"] == network_cost(network, height=32, width=16).total
    head = 64 * (2 * 3 - 2) * 2  # the policy has six outputs where the network has two
    assert row["flops_policy"] == row["flops_plain"] + head


@pytest.mark.parametrize(
    ("domain", "decay"),
    [
        ("aircraft", 5e-4),
        ("cifar100", 0.0),
        ("daimlerpedcls", 5e-4),
        ("dtd", 0.0),
        ("gtsrb", 0.0),
        ("omniglot", 5e-4),
        ("svhn", 0.0),
        ("ucf101", 5e-4),
        ("vgg-flowers", 1e-4),
        ("imagenet12", 1e-4),
    ],
)
def test_every_domain_has_its_published_weight_decay(domain: str, decay: float, tmp_path: Path) -> None:
    statistics = {domain: {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]}}
    (tmp_path / "decathlon_mean_std.json").write_text(json.dumps(statistics), encoding="utf-8")
    assert spottune_settings(domain, root=tmp_path).weight_decay == decay


def test_settings_are_the_published_ones_with_the_domain_s_statistics(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"convert decathlon_mean_std\.pickle to JSON once"):
        channel_statistics("aircraft", root=tmp_path)
    statistics = {name: {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]} for name in ("aircraft", "svhn")}
    (tmp_path / "decathlon_mean_std.json").write_text(json.dumps(statistics), encoding="utf-8")
    aircraft, svhn = (spottune_settings(domain, root=tmp_path) for domain in ("aircraft", "svhn"))
    assert (aircraft.size, aircraft.resize, aircraft.augment, aircraft.evaluate_whole) == (64, 72, "crop", True)
    assert aircraft.crop_from == "picture" and not aircraft.uncut
    assert (svhn.size, svhn.augment, svhn.weight_decay, aircraft.weight_decay) == (72, "none", 0.0, 5e-4)
    assert aircraft.channel_mean == (0.4, 0.5, 0.6) and aircraft.epochs == 110
    published = (
        aircraft.learning_rates,
        aircraft.policy_learning_rate,
        aircraft.policy_weight_decay,
        aircraft.momentum,
    )
    assert published == ((0.1,), 0.1, 1e-3, 0.9) and (aircraft.batch_size, aircraft.tau) == (128, 5.0)
    assert [round(110 * share) for share in aircraft.milestones] == [40, 60, 80]
    assert (aircraft.policy_shrink, aircraft.policy_pretrained, aircraft.policy_initial_tuned) == (1, False, 0.5)
    with pytest.raises(ValueError, match="dtd needs a mean"):
        spottune_settings("dtd", root=tmp_path)
