"""Counts over a data set, with the flat renderer of the shard tests' kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.histograms import NAMES, NUMBERS, QUANTITIES, format_histogram, parameter_histograms, pixel_statistics
from sim.params import SimParams, parameter_levels
from sim.scene import SceneSpec
from sim.shards import RenderConfig


class Flat:
    version = "flat 1"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            yield spec, np.full((16, 16, 3), 100 if spec.index % 2 else 140, np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    config = RenderConfig(
        params=SimParams(background="random", object_distance="random"),
        catalog=CatalogConfig(num_classes=3, models_per_class=2),
        size=16,
        images_per_shard=20,
    )
    render_dataset(config, out=out, num_images=60, factory=lambda *_, **__: nullcontext(Flat()))
    return out


def test_what_is_on_spreads_and_what_is_off_has_one_value(data: Path) -> None:
    table = parameter_histograms(data, bins=5)
    assert table["class"] == [(name, 20) for name, _ in table["class"]] and len(table["class"]) == 3
    assert len(table["model"]) == 6 and len(table["hdri"]) == 8
    assert len(table["camera_distance_m"]) == 5 and sum(n for _, n in table["camera_distance_m"]) == 60
    assert table["light_strength"] == [("3", 60)]
    assert table["focus_distance_m"] == [("off", 60)]


def test_the_first_images_alone_can_be_counted(data: Path) -> None:
    table = parameter_histograms(data, images=30)
    assert table["class"] == [(name, 10) for name, _ in table["class"]] and len(table["class"]) == 3
    assert sum(count for _, count in table["camera_distance_m"]) == 30


def test_every_parameter_has_its_quantities_and_no_other(data: Path) -> None:
    assert set(QUANTITIES) == set(parameter_levels()) and len(QUANTITIES) == 8
    listed = [quantity for quantities in QUANTITIES.values() for quantity in quantities]
    assert sorted(listed) == sorted({*NUMBERS, *NAMES} - {"class", "model"})
    table = parameter_histograms(data)
    spread = {name for name, quantities in QUANTITIES.items() if all(len(table[q]) > 1 for q in quantities)}
    assert {"background", "object_distance"} <= spread <= {"background", "object_distance", "materials"}


def test_pixels_have_the_mean_and_spread_of_what_was_drawn(data: Path) -> None:
    assert pixel_statistics(data, 40) == pytest.approx((120.0, 20.0), abs=0.5)  # JPEG moves a value by one
    assert pixel_statistics(data, 1) == pytest.approx((140.0, 0.0), abs=0.5)


def test_histograms_are_readable_lines() -> None:
    text = format_histogram("hdri", [("a", 30), ("bb", 15), ("c", 1), ("d", 0)], rows=3, width=10)
    assert text.splitlines() == [
        "hdri (4 values)",
        "  a            30  ██████████",
        "  bb           15  █████",
        "  2 more        1  █",
    ]
