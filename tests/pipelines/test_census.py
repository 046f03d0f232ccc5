"""What data sets and tasks hold, counted from files like those of a store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipelines import census
from pipelines.census import dataset_statistics, task_splits
from pipelines.summary import DataStatistics, Split, read_row
from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.params import SimParams
from sim.scene import SceneSpec
from sim.shards import RenderConfig
from transfer.splits import IndexRow, format_index


class Flat:
    version = "flat 1"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            yield spec, np.full((16, 16, 3), 100, np.uint8)


def rendered(out: Path, params: SimParams) -> Path:
    config = RenderConfig(
        params=params, catalog=CatalogConfig(num_classes=3, models_per_class=1), size=16, images_per_shard=10
    )
    render_dataset(config, out=out, num_images=20, factory=lambda *_, **__: nullcontext(Flat()))
    return out


def test_a_data_set_is_counted_and_only_what_varies_has_histograms(tmp_path: Path) -> None:
    data = rendered(tmp_path / "data", SimParams(light_color="random", materials="random"))
    found = dataset_statistics(data)
    assert (found.per_class, found.num_shards) == ((7, 7, 6), 2)
    assert found.num_bytes == sum(path.stat().st_size for path in data.glob("*.tar"))
    assert (found.pixel_mean, found.pixel_deviation) == pytest.approx((100.0, 0.0), abs=0.5)
    assert (found.decoded, found.counted) == (20, 20)
    assert list(found.histograms) == ["light_red", "light_green", "light_blue", "material"]
    assert all(sum(count for _, count in found.histograms[f"light_{name}"]) == 20 for name in ("red", "green", "blue"))
    materials = found.histograms["material"]
    assert len(materials) == 9 and materials[-1][0].endswith(" more")
    assert read_row(DataStatistics, json.loads(json.dumps(dataclasses.asdict(found))), "data") == found


def test_of_a_data_set_that_varies_nothing_and_of_a_large_one_only_a_part_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dataset_statistics(rendered(tmp_path / "off", SimParams())).histograms == {}
    monkeypatch.setattr(census, "COUNTED", 12)
    monkeypatch.setattr(census, "DECODED", 5)
    found = dataset_statistics(rendered(tmp_path / "on", SimParams(object_distance="random")))
    assert (found.counted, found.decoded, sum(found.per_class)) == (12, 5, 20)
    assert sum(count for _, count in found.histograms["camera_distance_m"]) == 12


def test_splits_of_a_task_count_every_class_also_one_without_images(tmp_path: Path) -> None:
    rows = [IndexRow("train", 0, "a\x1b", f"{n}.png") for n in range(3)] + [IndexRow("test", 2, "c", "9.png")]
    (tmp_path / "index.csv").write_text(format_index(rows), encoding="utf-8")
    summary = {"classes": ["a\x1b", "b", "c"], "skipped": {"test": [["8.png", "truncated"]]}}
    assert task_splits(tmp_path, summary) == (Split("train", (3, 0, 0)), Split("test", (0, 0, 1), 1))
