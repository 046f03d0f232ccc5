"""Procedural materials: natural ones by kind for a model's slots, and the library behind `materials: random`.

In: a kind and a random stream. Out: `MaterialSpec`, a Principled BSDF over an optional pattern. All ranges are
ours; the physical anchors are roughness and index of refraction of the named stuff, metals by their colours.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import numpy as np

from sim.scene import MaterialSpec, Vector3

Range = tuple[float, float]

# Hue (turns), saturation and value (0 to 1, display-referred) of the named palettes.
PALETTES: dict[str, tuple[Range, Range, Range]] = {
    "red": ((-0.03, 0.03), (0.75, 0.95), (0.5, 0.9)),
    "orange": ((0.05, 0.1), (0.75, 0.98), (0.75, 1.0)),
    "yellow": ((0.12, 0.16), (0.7, 0.95), (0.8, 1.0)),
    "green": ((0.24, 0.4), (0.45, 0.85), (0.25, 0.65)),
    "lime": ((0.2, 0.26), (0.55, 0.85), (0.55, 0.85)),
    "blue": ((0.55, 0.66), (0.5, 0.9), (0.3, 0.85)),
    "purple": ((0.74, 0.84), (0.4, 0.75), (0.25, 0.6)),
    "pink": ((0.9, 0.98), (0.3, 0.6), (0.8, 1.0)),
    "brown": ((0.05, 0.09), (0.5, 0.75), (0.2, 0.5)),
    "tan": ((0.07, 0.11), (0.25, 0.5), (0.55, 0.85)),
    "pale": ((0.08, 0.16), (0.03, 0.2), (0.8, 0.96)),
    "white": ((0.0, 1.0), (0.0, 0.04), (0.88, 0.98)),
    "grey": ((0.0, 1.0), (0.0, 0.06), (0.3, 0.65)),
    "dark": ((0.0, 1.0), (0.0, 0.25), (0.08, 0.25)),
    "black": ((0.0, 1.0), (0.0, 0.1), (0.02, 0.07)),
    "bright": ((0.0, 1.0), (0.6, 0.95), (0.6, 1.0)),
    "any": ((0.0, 1.0), (0.15, 0.9), (0.3, 0.95)),
    "gold": ((0.11, 0.13), (0.55, 0.68), (0.85, 0.98)),
    "brass": ((0.11, 0.14), (0.4, 0.55), (0.75, 0.9)),
    "copper": ((0.03, 0.06), (0.45, 0.6), (0.8, 0.95)),
    "silver": ((0.55, 0.65), (0.0, 0.05), (0.7, 0.92)),
    "mirror": ((0.55, 0.65), (0.0, 0.02), (0.95, 0.99)),
    "cork": ((0.08, 0.1), (0.4, 0.55), (0.6, 0.75)),
}


@dataclass(frozen=True)
class Kind:
    """Ranges from which a material of one kind is drawn."""

    palettes: tuple[str, ...]
    patterns: tuple[str, ...]
    contrast: Range
    """Value of the second colour as a factor on the first's (1: no visible pattern)."""
    scale: Range
    roughness: Range
    metallic: float = 0.0
    transmission: Range = (0.0, 0.0)
    ior: float = 1.5
    sheen: Range = (0.0, 0.0)
    coat: Range = (0.0, 0.0)
    bump: Range = (0.0, 0.0)


KINDS: dict[str, Kind] = {
    "plastic": Kind(("bright", "any", "pale", "dark"), ("none",), (1, 1), (2, 6), (0.15, 0.55), coat=(0, 0.3)),
    "metal": Kind(
        ("silver", "silver", "grey"), ("none", "noise"), (0.8, 1), (4, 12), (0.15, 0.5), metallic=1.0, bump=(0, 0.05)
    ),
    "wood": Kind(("brown", "tan"), ("wood",), (0.45, 0.8), (1.5, 5), (0.35, 0.7), coat=(0, 0.3), bump=(0, 0.15)),
    "stone": Kind(
        ("grey", "tan", "pale", "dark"), ("noise", "marble", "voronoi"), (0.4, 0.8), (2, 8), (0.4, 0.9), bump=(0, 0.3)
    ),
    "fabric": Kind(
        ("any", "pale", "dark", "any"),
        ("checker", "stripes", "noise", "none"),
        (0.55, 0.9),
        (6, 30),
        (0.75, 1.0),
        sheen=(0.1, 0.6),
        bump=(0.05, 0.25),
    ),
    "glass": Kind(("white",), ("none",), (1, 1), (2, 4), (0.0, 0.08), transmission=(0.85, 1.0), ior=1.45),
    "ceramic": Kind(
        ("pale", "white", "any"), ("none", "none", "stripes", "noise"), (0.6, 1), (2, 6), (0.05, 0.3), coat=(0.3, 1)
    ),
    "concrete": Kind(("grey",), ("noise", "brick"), (0.6, 0.9), (3, 8), (0.75, 1.0), bump=(0.1, 0.4)),
    "paper": Kind(("pale", "any"), ("none", "noise"), (0.85, 1), (4, 10), (0.7, 0.95)),
    "leather": Kind(("brown", "dark", "red"), ("voronoi",), (0.7, 0.9), (15, 40), (0.35, 0.65), bump=(0.1, 0.3)),
    "rubber": Kind(("dark", "black"), ("none",), (1, 1), (2, 4), (0.6, 0.9)),
    "skin": Kind(("tan", "brown", "grey"), ("noise",), (0.7, 0.95), (3, 10), (0.5, 0.8), bump=(0, 0.1)),
    "fur": Kind(
        ("brown", "tan", "dark", "pale"), ("noise",), (0.5, 0.9), (3, 12), (0.8, 1), sheen=(0.2, 0.6), bump=(0.1, 0.4)
    ),
    "foliage": Kind(("green", "green", "lime"), ("noise",), (0.55, 0.9), (4, 12), (0.4, 0.8), bump=(0, 0.3)),
    "bark": Kind(("brown", "grey"), ("wood", "noise"), (0.4, 0.7), (4, 10), (0.8, 1), bump=(0.2, 0.6)),
    "fruit": Kind(("red", "orange", "yellow", "green"), ("noise",), (0.8, 1), (3, 8), (0.2, 0.5), coat=(0, 0.4)),
    "bread": Kind(("tan", "brown"), ("noise",), (0.6, 0.9), (4, 10), (0.6, 0.9), bump=(0.05, 0.3)),
    "wax": Kind(("pale", "red", "any"), ("none",), (1, 1), (2, 4), (0.35, 0.6)),
    "fire": Kind(("orange", "yellow"), ("noise",), (0.8, 1), (4, 8), (0.8, 1.0)),
    "brick": Kind(("red", "brown", "tan"), ("brick",), (0.5, 0.8), (3, 7), (0.8, 1), bump=(0.1, 0.4)),
}  # fmt: skip

# Category mix of the 141 materials that the original drew from (task2sim.md, section 2.2).
LIBRARY_COUNTS: dict[str, int] = {
    "plastic": 31, "metal": 30, "stone": 21, "fabric": 19, "wood": 17, "ceramic": 12, "concrete": 6, "glass": 3,
    "paper": 2,
}  # fmt: skip
LIBRARY_SEED = 141


def natural_material(kinds: str, rng: np.random.Generator, name: str = "") -> MaterialSpec:
    """Draw a material of one of `kinds`.

    Args:
        kinds: alternatives separated by "|", each `kind` or `kind:palette,palette`, e.g. `"wood|plastic:red,blue"`.
        rng: the stream.
        name: name of the material; the kind when empty.

    Raises:
        ValueError: an unknown kind or palette.
    """
    options = kinds.split("|")
    kind_name, _, palette_names = options[int(rng.integers(len(options)))].partition(":")
    if kind_name not in KINDS:
        raise ValueError(f"unknown kind of material {kind_name!r}; allowed: {', '.join(KINDS)}")
    kind = KINDS[kind_name]
    palettes = tuple(palette_names.split(",")) if palette_names else kind.palettes
    palette = palettes[int(rng.integers(len(palettes)))]
    if palette not in PALETTES:
        raise ValueError(f"unknown palette {palette!r}; allowed: {', '.join(PALETTES)}")
    first, second = _colors(palette, kind.contrast, rng)
    low, high = np.log(kind.scale)
    return MaterialSpec(
        name=name or kind_name,
        category=kind_name,
        base_color=first,
        second_color=second,
        pattern=kind.patterns[int(rng.integers(len(kind.patterns)))],
        pattern_scale=_rounded(np.exp(rng.uniform(low, high))),
        metallic=kind.metallic,
        roughness=_rounded(rng.uniform(*kind.roughness)),
        transmission=_rounded(rng.uniform(*kind.transmission)),
        ior=kind.ior,
        sheen=_rounded(rng.uniform(*kind.sheen)),
        coat=_rounded(rng.uniform(*kind.coat)),
        bump=_rounded(rng.uniform(*kind.bump)),
    )


@cache
def material_library() -> tuple[MaterialSpec, ...]:
    """The 141 materials of `materials: random`; constant, whatever the seed of the catalogue."""
    wide = {"metal": "metal|metal:gold,brass,copper,mirror,dark|metal:bright", "glass": "glass:white,green,blue"}
    library: list[MaterialSpec] = []
    for category, count in LIBRARY_COUNTS.items():
        for number in range(count):
            rng = np.random.default_rng([LIBRARY_SEED, len(library)])
            library.append(natural_material(wide.get(category, category), rng, f"{category}_{number:02d}"))
    return tuple(library)


def _colors(palette: str, contrast: Range, rng: np.random.Generator) -> tuple[Vector3, Vector3]:
    """A colour of the palette and its darker companion with a slightly different hue."""
    hue, saturation, value = (rng.uniform(*limits) for limits in PALETTES[palette])
    factor, shift = rng.uniform(*contrast), rng.uniform(-0.03, 0.03)
    first = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    if factor == 1:
        return _linear(first), _linear(first)
    return _linear(first), _linear(colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value * factor))


def _linear(color: Vector3) -> Vector3:
    """Display (sRGB) to linear."""
    red, green, blue = (_rounded(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in color)
    return red, green, blue


def _rounded(value: float) -> float:
    """Five decimals: what is written to JSON is what is rendered, on every machine."""
    return round(float(value), 5)
