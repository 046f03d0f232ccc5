"""What a data set contains, counted: how often each class, model, environment and material, how numbers are spread."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sim.inspection import iterate_samples, read_index

NUMBERS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "rotation_x_deg": lambda sample: sample["object_rotation_deg"][0],
    "rotation_y_deg": lambda sample: sample["object_rotation_deg"][1],
    "rotation_z_deg": lambda sample: sample["object_rotation_deg"][2],
    "camera_distance_m": lambda sample: math.hypot(*sample["camera_position_m"]),
    "light_strength": lambda sample: sample["light_strength"],
    "light_red": lambda sample: sample["light_color"][0],
    "light_green": lambda sample: sample["light_color"][1],
    "light_blue": lambda sample: sample["light_color"][2],
    "light_elevation_deg": lambda sample: -math.degrees(math.asin(max(-1.0, min(1.0, sample["light_direction"][2])))),
    "focus_distance_m": lambda sample: sample["focus_distance_m"],
    "aperture_fstop": lambda sample: sample["aperture_fstop"],
}
"""Numbers of a sample's .json; None (everything in focus) is counted as "off"."""

NAMES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "class": lambda sample: [sample["class_name"]],
    "model": lambda sample: [sample["model"]],
    "hdri": lambda sample: [sample["hdri"]],
    "material": lambda sample: sample["materials"],
}

QUANTITIES = {
    "object_rotation": ("rotation_x_deg", "rotation_y_deg", "rotation_z_deg"),
    "object_distance": ("camera_distance_m",),
    "light_intensity": ("light_strength",),
    "light_color": ("light_red", "light_green", "light_blue"),
    "light_direction": ("light_elevation_deg",),
    "background": ("hdri",),
    "focus_blur": ("focus_distance_m", "aperture_fstop"),
    "materials": ("material",),
}
"""What each simulation parameter spreads, of the numbers and names above."""

Histogram = list[tuple[str, int]]


def parameter_histograms(data: Path, bins: int = 8, images: int | None = None) -> dict[str, Histogram]:
    """Counts by quantity: names most frequent first, numbers in `bins` equal bins from their minimum to maximum.

    A quantity that is the same in all images has one entry.

    Args:
        images: look at so many of the first ones only; every image is drawn alike. Default: all.

    Raises:
        FileNotFoundError, DataSetDamaged: as `sim.inspection.read_index`.
    """
    index = read_index(data)
    names: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
    numbers: dict[str, list[float | None]] = {name: [] for name in NUMBERS}
    for members in itertools.islice(iterate_samples(data, index), images):
        sample = json.loads(members["json"])
        for name, read in NAMES.items():
            names[name].update(read(sample))
        for name, number in NUMBERS.items():
            numbers[name].append(number(sample))
    table: dict[str, Histogram] = {name: counter.most_common() for name, counter in names.items()}
    return table | {name: _binned(values, bins) for name, values in numbers.items()}


def pixel_statistics(data: Path, images: int) -> tuple[float, float]:
    """Mean and standard deviation of the pixel values, 0 to 255, over all channels of the first `images` images.

    Raises:
        FileNotFoundError, DataSetDamaged: as `sim.inspection.read_index`.
    """
    index = read_index(data)
    count, total, squares = 0, 0.0, 0.0
    for members in itertools.islice(iterate_samples(data, index), images):
        with Image.open(io.BytesIO(members[index["config"]["format"]]), formats=("JPEG", "PNG", "WEBP")) as picture:
            values = np.asarray(picture.convert("RGB"), np.float64)
        count, total, squares = count + values.size, total + values.sum(), squares + np.square(values).sum()
    mean = total / count
    return mean, math.sqrt(max(0.0, squares / count - mean**2))


def _binned(values: list[float | None], bins: int) -> Histogram:
    """Counts in `bins` equal bins from minimum to maximum, after those of None ("off"); one entry for one value."""
    present = [value for value in values if value is not None]
    off: Histogram = [("off", len(values) - len(present))] if len(present) < len(values) else []
    if not present:
        return off
    low, high = min(present), max(present)
    if high - low < 1e-9 * max(1.0, abs(high)):
        return [*off, (f"{low:.3g}", len(present))]
    counts = [0] * bins
    for value in present:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    edges = [low + (high - low) * number / bins for number in range(bins + 1)]
    return [*off, *((f"{a:.3g} to {b:.3g}", count) for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True))]


def format_histogram(name: str, histogram: Histogram, *, rows: int = 12, width: int = 40) -> str:
    """A histogram as lines of text; what does not fit into `rows` is summed up in a last one."""
    shown = histogram if len(histogram) <= rows else histogram[: rows - 1]
    rest = histogram[len(shown) :]
    if rest:
        shown = [*shown, (f"{len(rest)} more", sum(count for _, count in rest))]
    longest = max((len(label) for label, _ in shown), default=0)
    peak = max((count for _, count in shown[: len(shown) - bool(rest)]), default=1)
    lines = [f"{name} ({len(histogram)} values)" if name in NAMES else name]
    for label, count in shown:
        bar = "█" * max(1 if count else 0, round(width * min(count, peak) / max(peak, 1)))
        lines.append(f"  {label:<{longest}}  {count:>7}  {bar}")
    return "\n".join(lines)
