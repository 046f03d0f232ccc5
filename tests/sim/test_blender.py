"""The real Blender child: what the pictures show, that they are reproducible, and that no process is left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sim.assets import AssetCatalog, CatalogConfig, load_catalog
from sim.params import TASK2SIM_SPACE as SPACE
from sim.params import SimParams, SimRanges, all_on
from sim.render import BlenderRenderer
from sim.scene import MaterialSpec, SceneSpec, sample_scene
from sim.wire import RenderSettings

pytestmark = [pytest.mark.blender, pytest.mark.xdist_group("blender")]  # they share two renderers
pytest.importorskip("bpy", reason="needs the bpy wheel (simpath[render], Python 3.11)")

SETTINGS = RenderSettings(size=32, samples=4, denoiser="none")
ALL_ON = SimParams(**SPACE.to_levels(all_on()))  # type: ignore[arg-type]
PLAIN = MaterialSpec(
    name="plain",
    category="plastic",
    base_color=(0.5, 0.5, 0.5),
    second_color=(0.5, 0.5, 0.5),
    pattern="none",
    pattern_scale=1.0,
    metallic=0.0,
    roughness=0.5,
    transmission=0.0,
    ior=1.5,
    sheen=0.0,
    coat=0.0,
    bump=0.0,
)


@pytest.fixture(scope="module")
def catalog() -> AssetCatalog:
    return load_catalog(CatalogConfig(num_classes=4, models_per_class=2))


@pytest.fixture(scope="module")
def scenes(catalog: AssetCatalog) -> list[SceneSpec]:
    return [sample_scene(catalog, ALL_ON, SimRanges(), 0, index) for index in range(6)]


@pytest.fixture(scope="module")
def renderer(catalog: AssetCatalog):  # type: ignore[no-untyped-def]
    with BlenderRenderer(catalog, SETTINGS, threads=1) as renderer:
        yield renderer


@pytest.fixture(scope="module")
def other(catalog: AssetCatalog):  # type: ignore[no-untyped-def]
    """Another process with another thread count."""
    with BlenderRenderer(catalog, SETTINGS, threads=2) as renderer:
        yield renderer


def draw(renderer: BlenderRenderer, *specs: SceneSpec) -> list[np.ndarray]:
    return [pixels for _, pixels in renderer.render(specs)]


def plain(spec: SceneSpec, **changes: object) -> SceneSpec:
    """The scene with grey objects and no environment, so that the sun alone lights it."""
    grey = tuple(PLAIN for _ in spec.materials)
    changed = {"materials": grey, "hdri_strength": 0.0, "focus_distance_m": None, "aperture_fstop": None} | changes
    return dataclasses.replace(spec, **changed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bright(catalog: AssetCatalog) -> SceneSpec:
    """A scene with every parameter off: lit by a white sun from behind the camera."""
    return plain(sample_scene(catalog, SimParams(), SimRanges(), 0, 0), light_strength=3.0)


def test_pixels_depend_on_the_scene_only(
    scenes: list[SceneSpec], renderer: BlenderRenderer, other: BlenderRenderer
) -> None:
    """Another process, another thread count, another order, and scenes between that change everything."""
    first = draw(renderer, *scenes)
    second = draw(other, *reversed(scenes))[::-1]
    third = draw(renderer, *scenes[4:])
    assert len(first) == len(second) == 6
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert all((a == b).all() for a, b in zip(first[4:], third, strict=True))
    assert len({image.tobytes() for image in first}) == 6


def test_a_killed_blender_costs_no_image_and_no_pixel(
    scenes: list[SceneSpec], renderer: BlenderRenderer, other: BlenderRenderer
) -> None:
    whole, images = draw(renderer, *scenes), []
    for spec, pixels in other.render(scenes):
        images.append(pixels)
        if spec.index == 2:
            assert other.pid is not None
            os.kill(other.pid, signal.SIGKILL)
    assert len(images) == 6
    assert all((a == b).all() for a, b in zip(whole, images, strict=True))


def test_without_light_the_picture_is_black(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    (dark,) = draw(renderer, dataclasses.replace(bright, light_strength=0.0))
    assert dark.max() == 0


def test_the_object_is_in_the_middle_and_lit(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    (image,) = draw(renderer, bright)
    rows, columns = np.nonzero(image.max(axis=2) > 20)
    assert abs(rows.mean() - 15.5) < 5 and abs(columns.mean() - 15.5) < 5
    assert len(rows) > 10


def test_a_red_sun_makes_a_grey_object_red(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    (image,) = draw(renderer, dataclasses.replace(bright, light_color=(1.0, 0.0, 0.0)))
    assert image[..., 0].max() > 60
    assert image[..., 1:].max() == 0


def test_more_light_is_brighter_and_nearer_is_larger(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    near = tuple(0.5 * x for x in bright.camera_position_m)
    base, weak, large = draw(
        renderer,
        bright,
        dataclasses.replace(bright, light_strength=0.5),
        dataclasses.replace(bright, camera_position_m=near),  # type: ignore[arg-type]
    )
    assert weak.mean() < 0.8 * base.mean()
    assert (large.max(axis=2) > 5).sum() > 2 * (base.max(axis=2) > 5).sum()


def test_the_light_comes_from_where_the_scene_says(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    """Lit from behind, a body shows the camera its dark side."""
    x, y, z = bright.camera_position_m
    length = float(np.linalg.norm([x, y, z]))
    away, towards = (-x / length, -y / length, -z / length), (x / length, y / length, z / length)
    front, back = draw(
        renderer,
        dataclasses.replace(bright, light_direction=away),
        dataclasses.replace(bright, light_direction=towards),
    )
    assert back.mean() < 0.4 * front.mean()


def test_turning_the_environment_leaves_the_object_in_place(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    straight, turned = draw(renderer, bright, dataclasses.replace(bright, hdri_rotation_deg=(40.0, 0.0, 130.0)))
    assert (straight.max(axis=2) > 20).sum() > 10
    assert np.abs(straight.astype(int) - turned).mean() < 1.5  # the same geometry, another random turn of noise


def test_the_background_turns_with_the_environment(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    lit = dataclasses.replace(bright, hdri_strength=1.0)
    straight, turned = draw(renderer, lit, dataclasses.replace(lit, hdri_rotation_deg=(0.0, 0.0, 90.0)))
    assert np.abs(straight[:4].astype(int) - turned[:4]).mean() > 5


def test_metal_and_glass_are_not_black(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    for change in ({"metallic": 1.0, "roughness": 0.1}, {"transmission": 1.0, "roughness": 0.0}):
        shiny = tuple(dataclasses.replace(PLAIN, base_color=(0.9, 0.9, 0.9), **change) for _ in bright.materials)
        (image,) = draw(renderer, dataclasses.replace(bright, materials=shiny, hdri_strength=1.0))
        assert image[12:20, 12:20].mean() > 20


@pytest.mark.parametrize("pattern", ["noise", "wood", "marble", "checker", "brick", "voronoi", "stripes"])
def test_every_pattern_shows_both_of_its_colours(renderer: BlenderRenderer, bright: SceneSpec, pattern: str) -> None:
    two = dataclasses.replace(
        PLAIN, pattern=pattern, base_color=(0.8, 0.0, 0.0), second_color=(0.0, 0.0, 0.8), pattern_scale=12.0
    )
    near = tuple(0.5 * x for x in bright.camera_position_m)
    (image,) = draw(
        renderer,
        dataclasses.replace(bright, materials=(two,) * len(bright.materials), camera_position_m=near),  # type: ignore[arg-type]
    )
    assert (image[..., 0] > 60).any() and (image[..., 2] > 60).any()
    assert image[..., 1].max() < 60


def test_focus_in_front_of_the_object_blurs_it(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    """Its light spreads over more pixels."""
    distance = float(np.linalg.norm(bright.camera_position_m))
    sharp, near, focused = draw(
        renderer,
        bright,
        dataclasses.replace(bright, focus_distance_m=0.1 * distance, aperture_fstop=0.1),
        dataclasses.replace(bright, focus_distance_m=distance, aperture_fstop=0.1),
    )
    lit = [int((image.max(axis=2) > 0).sum()) for image in (sharp, near, focused)]
    assert lit[1] > 1.5 * lit[2]
    assert lit[2] > 0.8 * lit[0]


def test_a_broken_scene_fails_alone(renderer: BlenderRenderer, bright: SceneSpec) -> None:
    broken = dataclasses.replace(bright, index=1, materials=(*bright.materials, PLAIN))
    done = []
    with pytest.raises(Exception, match="material slots"):
        for spec, _ in renderer.render([bright, broken, dataclasses.replace(bright, index=2)]):
            done.append(spec.index)
    assert done == [0, 2]


def test_blender_ends_with_its_parent_even_in_the_middle_of_a_render(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from sim.assets import CatalogConfig, load_catalog\n"
        "from sim.params import SimParams, SimRanges\n"
        "from sim.render import BlenderRenderer\n"
        "from sim.scene import sample_scene\n"
        "from sim.wire import RenderSettings\n"
        "catalog = load_catalog(CatalogConfig(num_classes=1, models_per_class=1))\n"
        "renderer = BlenderRenderer(catalog, RenderSettings(size=512, samples=60000), threads=1, timeout_s=600)\n"
        "renderer.version\n"
        "print(renderer.pid, flush=True)\n"
        "list(renderer.render([sample_scene(catalog, SimParams(), SimRanges(), 0, 0)]))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1.5)  # well inside a render of many minutes
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
