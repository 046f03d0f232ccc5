"""The denoised picture: nearer to the truth than the noisy one, as bright, and the same bytes whatever renders it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sim.assets import CatalogConfig, load_catalog
from sim.params import TASK2SIM_SPACE as SPACE
from sim.params import SimParams, SimRanges, all_on
from sim.render import BlenderRenderer
from sim.scene import sample_scene
from sim.srgb import to_srgb
from sim.wire import RenderSettings

CATALOG = load_catalog(CatalogConfig(num_classes=4, models_per_class=2))
ALL_ON = SimParams(**SPACE.to_levels(all_on()))  # type: ignore[arg-type]
SCENES = [sample_scene(CATALOG, ALL_ON, SimRanges(), 0, index) for index in range(4)]
NOISY = RenderSettings(size=64, samples=2, denoiser="none")
DENOISED = dataclasses.replace(NOISY, denoiser="oidn")


def test_the_srgb_curve_at_known_points() -> None:
    linear = np.array([-1.0, 0.0, 0.001, 0.18, 0.5, 1.0, 7.0], np.float32)
    assert to_srgb(linear).tolist() == [0, 0, 3, 118, 188, 255, 255]


def draw(settings: RenderSettings, *, threads: int = 1) -> np.ndarray:
    with BlenderRenderer(CATALOG, settings, threads=threads) as renderer:
        return np.stack([pixels for _, pixels in renderer.render(SCENES)])


def psnr(pictures: np.ndarray, truth: np.ndarray) -> float:
    error = ((pictures.astype(float) - truth) ** 2).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / error)).mean())


@pytest.fixture(scope="module")
def denoised() -> np.ndarray:
    pytest.importorskip("bpy", reason="needs the bpy wheel (simpath[render], Python 3.11)")
    return draw(DENOISED)


@pytest.mark.blender
@pytest.mark.xdist_group("film")
def test_denoising_brings_pictures_nearer_to_the_truth_and_keeps_their_brightness(denoised: np.ndarray) -> None:
    truth = draw(dataclasses.replace(NOISY, samples=128)).astype(float)
    assert psnr(denoised, truth) > psnr(draw(NOISY), truth) + 2
    assert np.abs(denoised.mean((1, 2)) - truth.mean((1, 2))).max() < 6  # grey levels of 255, each channel


@pytest.mark.blender
@pytest.mark.xdist_group("film")
def test_threads_and_labels_change_no_pixel(denoised: np.ndarray) -> None:
    assert (draw(dataclasses.replace(DENOISED, labels=True), threads=2) == denoised).all()
