"""What a run's data sets and tasks hold, counted for its report from what the store has.

In: a rendered data set, or the index of a task's features. Out: rows of `pipelines.summary`. A large data set is looked
at in part: every image is drawn alike, so its first ones speak for the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.summary import DataStatistics, Split
from sim.histograms import NAMES, QUANTITIES, parameter_histograms, pixel_statistics
from sim.inspection import read_index
from sim.params import parameter_levels

COUNTED = 2000
"""Images whose parameters are read: 0.2 s for those of the demo."""
DECODED = 48
BARS = 8
"""Of a histogram; rarer names are summed up in one entry more, the last."""


def dataset_statistics(data: Path) -> DataStatistics:
    """Statistics of a complete data set, with histograms for each parameter that is not at its first, "off" level.

    Raises:
        FileNotFoundError, DataSetDamaged: as `sim.inspection.read_index`.
    """
    index = read_index(data)
    known, params = parameter_levels(), index["config"]["params"]
    varied = [name for name in known if params[name] != known[name][0]]
    table = parameter_histograms(data, BARS, COUNTED) if varied else {}
    mean, deviation = pixel_statistics(data, DECODED)
    return DataStatistics(
        num_bytes=sum(shard["bytes"] for shard in index["shards"]),
        num_shards=len(index["shards"]),
        per_class=tuple(count for count in index["class_counts"].values() if count),
        pixel_mean=round(mean, 1),
        pixel_deviation=round(deviation, 1),
        decoded=min(DECODED, index["num_images"]),
        counted=min(COUNTED, index["num_images"]),
        histograms={
            quantity: _shortened(quantity, table[quantity]) for name in varied for quantity in QUANTITIES[name]
        },
    )


def _shortened(quantity: str, histogram: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    if quantity not in NAMES or len(histogram) <= BARS:
        return tuple(histogram)
    rest = histogram[BARS:]
    return (*histogram[:BARS], (f"{len(rest)} more", sum(count for _, count in rest)))


def task_splits(features: Path, summary: Mapping[str, Any]) -> tuple[Split, ...]:
    """Images of each class in the splits of a task, from the directory and the summary of its features."""
    from transfer.splits import parse_index

    rows = parse_index((features / "index.csv").read_text(encoding="utf-8"))
    counts = Counter((row.split, row.label) for row in rows)
    return tuple(
        Split(
            name,
            tuple(counts[name, label] for label in range(len(summary["classes"]))),
            len(summary["skipped"].get(name, ())),
        )
        for name in ("train", "val", "test")
        if any(split == name for split, _ in counts)
    )
