"""`simpath render` as a user meets it: what it says at the end, and what it refuses before Blender is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from pipelines.commands.data import _closing_lines
from sim.devices import gpu_names

Refusal = Callable[..., str]


@pytest.fixture
def refused(simpath: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Runs `simpath render` with a cache of its own; the one line on stderr with which it says no."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def render(status: int, *words: str | Path) -> str:
        code, _, err = simpath("render", "--num-images", "4", *words)
        assert code == status, err
        (line,) = err.strip().splitlines()
        return line

    return render


def assets(root: Path) -> Path:
    """One category with a good model and a broken one."""
    trimesh = pytest.importorskip("trimesh", reason="needs simpath[render]")
    (root / "crate").mkdir(parents=True)
    trimesh.creation.box().export(root / "crate" / "good.glb")
    (root / "crate" / "bad.glb").write_bytes((root / "crate" / "good.glb").read_bytes()[:200])
    return root


def test_a_broken_model_stops_a_strict_rendering_before_it_begins(tmp_path: Path, refused: Refusal) -> None:
    line = refused(1, "--out", tmp_path / "set", "--assets", assets(tmp_path / "assets"), "--strict")
    assert line.startswith("simpath: crate/bad.glb: it cannot be read as glb") and "1 files were not taken" in line
    assert not (tmp_path / "set").exists()


def test_a_category_that_is_too_small_for_its_half_is_named_before_anything_begins(
    tmp_path: Path, refused: Refusal
) -> None:
    line = refused(1, "--out", tmp_path / "set", "--assets", assets(tmp_path / "assets"), "--models", "heldout")
    assert "class 'crate' has too few models for models = 'heldout': it needs at least two" in line
    assert not (tmp_path / "set").exists()


def test_a_cluster_wants_a_directory_and_options_that_fit(tmp_path: Path, refused: Refusal) -> None:
    line = refused(2, "--out", "s3://bucket/set", "--cluster", "local")
    assert line == "simpath: --cluster needs a directory that all of its machines share, not s3://bucket/set"
    line = refused(2, "--out", tmp_path / "set", "--cluster", "slrm")
    assert "cluster 'slrm'; allowed: local, slurm" in line
    assert not (tmp_path / "set").exists()


@pytest.mark.blender
@pytest.mark.parametrize("device", ["cuda", "hip"])
def test_a_gpu_that_blender_does_not_find_is_one_line_and_nothing_is_rendered(
    tmp_path: Path, refused: Refusal, device: Literal["cuda", "hip"]
) -> None:
    pytest.importorskip("bpy", reason="rendering needs the bpy wheel")
    if gpu_names(device):
        pytest.skip("this machine has such a GPU")
    line = refused(1, "--out", tmp_path / "set", "--size", "16", "--device", device)
    assert line == f"simpath: device '{device}' was asked for, but Blender finds no {device.upper()} device here"
    assert list((tmp_path / "set").glob("[!.]*")) == []


SUMMARY: dict[str, Any] = {
    "images": 9, "shards": 2, "rendered": 9, "images_per_second": 3.5, "complete": False,
    "failed": [{"index": 4, "model": "crate/0", "reason": "it is bad"}],
}  # fmt: skip


def test_everything_that_is_missing_is_counted_and_named() -> None:
    skipped = {"crate/bad.glb": "it has no triangles", "crate/m.fbx": "it is not trusted"}
    assert _closing_lines("set", SUMMARY, skipped, ["render_shard abc: killed"]) == [
        "set: 9 images in 2 shards, 9 rendered now, 3.5 images/s",
        "files that were not taken: 2",
        "not taken: crate/bad.glb: it has no triangles",
        "not taken: crate/m.fbx: it is not trusted",
        "missing: image 4 (model crate/0): it is bad",
        "missing: render_shard abc: killed",
        "the other shards of the set are not there yet; whoever finds all of them writes index.json",
    ]
    whole = SUMMARY | {"failed": [], "complete": True, "rendered": 0}
    assert _closing_lines("set", whole, {}, []) == ["set: 9 images in 2 shards, 0 rendered now, all there already"]
