"""The demo's own tasks: reproducible, balanced, and not trivially told apart by brightness or colour."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest

from sim.assets import CatalogConfig
from sim.shapes import recipes
from transfer.drawing import draw_model, trace_model
from transfer.images import decode_image
from transfer.made import LINE_DRAWING_CLASSES, LINE_DRAWING_SEED, make_line_drawings, make_textures
from transfer.patterns import PATTERNS, paint_pattern
from transfer.tasks import load_task

CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)], dtype=np.float32)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def pictures(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize("make", [make_line_drawings, make_textures])
def test_equal_seeds_make_equal_files_and_other_seeds_others(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        make(tmp_path / name, seed=seed, train_per_class=2, test_per_class=1, size=32)
    one, two, three = (pictures(tmp_path / name) for name in ("one", "two", "three"))
    assert len(one) == 12 * 3 and one.keys() == two.keys() == three.keys()
    assert all(filecmp.cmp(one[name], two[name], shallow=False) for name in one)
    assert sum(filecmp.cmp(one[name], three[name], shallow=False) for name in one) == 0
    assert not list(tmp_path.glob(".*"))


def test_a_made_folder_is_a_task(tmp_path: Path) -> None:
    make_textures(tmp_path / "t", train_per_class=3, test_per_class=2, size=16)
    task = load_task(tmp_path / "t")
    assert len(task.classes) == 12 and (len(task.train), len(task.test)) == (36, 24)
    assert "made" in json.loads((tmp_path / "t" / "made.json").read_text(encoding="utf-8"))["task"]


def test_a_folder_with_other_images_is_refused_and_the_same_one_is_kept(tmp_path: Path) -> None:
    make_textures(tmp_path / "t", train_per_class=2, test_per_class=1, size=16)
    before = (tmp_path / "t" / "made.json").stat().st_mtime_ns
    make_textures(tmp_path / "t", train_per_class=2, test_per_class=1, size=16)
    assert (tmp_path / "t" / "made.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="choose another folder"):
        make_textures(tmp_path / "t", train_per_class=2, test_per_class=1, size=16, seed=5)


def test_drawn_models_are_not_the_rendered_ones() -> None:
    assert CatalogConfig().seed != LINE_DRAWING_SEED
    assert len(LINE_DRAWING_CLASSES) == 12 and set(LINE_DRAWING_CLASSES) <= set(recipes())


def test_a_cube_has_twelve_edges_and_shows_at_most_nine() -> None:
    outline = trace_model(CUBE, CUBE_FACES)
    assert outline.is_crease.sum() == 12 and len(outline.points) == 8
    assert np.abs(outline.surface).max(axis=1) == pytest.approx(np.full(len(outline.surface), 0.5))
    for seed in range(5):
        sheet = draw_model(outline, np.random.default_rng(seed), size=64)
        assert sheet.shape == (64, 64) and sheet.max() == 255
        assert 0.02 < (sheet < 200).mean() < 0.25


def test_a_smooth_ball_is_drawn_as_its_outline_only() -> None:
    angles, heights = np.linspace(0, 2 * np.pi, 48, endpoint=False), np.linspace(-1, 1, 25)
    rings = [
        [np.sqrt(1 - h * h) * np.cos(a) / 2, np.sqrt(1 - h * h) * np.sin(a) / 2, h / 2] for h in heights for a in angles
    ]
    i, j = np.meshgrid(np.arange(24), np.arange(48), indexing="ij")
    a, b, c, d = i * 48 + j, i * 48 + (j + 1) % 48, (i + 1) * 48 + j, (i + 1) * 48 + (j + 1) % 48
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    sheet = draw_model(trace_model(np.array(rings), faces), np.random.default_rng(0), size=64)
    y, x = np.nonzero(sheet < 128)
    radius = np.hypot(x - x.mean(), y - y.mean())
    assert len(x) > 60 and radius.min() > 0.6 * radius.max()


@pytest.mark.parametrize("kind", sorted(PATTERNS))
def test_patterns_have_contrast_and_vary(kind: str) -> None:
    first, second = (paint_pattern(kind, np.random.default_rng(seed), size=48).astype(float) for seed in (0, 1))
    assert first.shape == (48, 48, 3) and first.mean(axis=2).std() > 8
    assert np.abs(first - second).mean() > 10


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="no pattern 'tartan'"):
        paint_pattern("tartan", np.random.default_rng(0), size=16)


def test_class_means_say_little(tmp_path: Path) -> None:
    """A nearest-mean-colour classifier stays near chance (1 in 12)."""
    make_textures(tmp_path / "t", train_per_class=12, test_per_class=12, size=24)
    task = load_task(tmp_path / "t")
    means = {
        part: np.array([np.asarray(images.read(i)).mean(axis=(0, 1)) for i in range(len(images))])
        for part, images in (("train", task.train), ("test", task.test))
    }
    centres = np.stack([means["train"][task.train.labels == c].mean(axis=0) for c in range(12)])
    distance = np.linalg.norm(means["test"][:, None] - centres[None], axis=2)
    assert (distance.argmin(axis=1) == task.test.labels).mean() < 0.3


def test_pictures_open(tmp_path: Path) -> None:
    make_line_drawings(tmp_path / "d", train_per_class=1, test_per_class=1, size=48, classes=("mug", "chair"))
    found = pictures(tmp_path / "d")
    assert len(found) == 4
    assert all(decode_image(path).size == (48, 48) for path in found.values())
