"""Procedural surface patterns for the made texture task (numpy only)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Field = np.ndarray  # (S, S) float in about 0 to 1
Rng = np.random.Generator


def paint_pattern(kind: str, rng: Rng, *, size: int) -> np.ndarray:
    """(size, size, 3) uint8 picture of one pattern with random colours, scale, direction, light and grain.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in PATTERNS:
        raise ValueError(f"no pattern {kind!r}; there are {', '.join(sorted(PATTERNS))}")
    angle, frequency = rng.uniform(0, 2 * np.pi), rng.uniform(3.5, 7.5)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    u = (np.cos(angle) * x + np.sin(angle) * y) * frequency + rng.uniform(0, 50)
    v = (np.cos(angle) * y - np.sin(angle) * x) * frequency + rng.uniform(0, 50)
    field = np.clip(PATTERNS[kind](u, v, rng), 0, 1)[..., None]
    low, high = _two_colours(rng)
    light_angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    light = 1 + slope * (np.cos(light_angle) * x + np.sin(light_angle) * y)[..., None]
    picture = (low * (1 - field) + high * field) * light + rng.normal(0, 0.02, (size, size, 1))
    pixels: np.ndarray = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return pixels


def _two_colours(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Two colours whose brightness differs by 0.25 at least, either of them the brighter."""
    while True:
        low, high = rng.uniform(0.05, 0.95, 3), rng.uniform(0.05, 0.95, 3)
        if abs(low.mean() - high.mean()) > 0.25:
            return low, high


def _lattice(u: Field, v: Field, rng: Rng) -> Field:
    """Smooth value noise with one random value per unit square, 0 to 1."""
    table = rng.uniform(0, 1, (64, 64))
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    s, t = u - i, v - j
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    a, b = table[i % 64, j % 64], table[(i + 1) % 64, j % 64]
    c, d = table[i % 64, (j + 1) % 64], table[(i + 1) % 64, (j + 1) % 64]
    noise: Field = (a * (1 - s) + b * s) * (1 - t) + (c * (1 - s) + d * s) * t
    return noise


def _cloud(u: Field, v: Field, rng: Rng) -> Field:
    """Four octaves of value noise, 0 to 1."""
    total = sum(_lattice(u * 2**k, v * 2**k, rng) / 2**k for k in range(4))
    cloud: Field = np.asarray(total) / 1.875
    return cloud


def _sharp(field: Field, softness: float = 0.08) -> Field:
    """A step at 0.5 with soft edges."""
    return np.clip((field - 0.5) / softness + 0.5, 0, 1)


def _cells(u: Field, v: Field, rng: Rng) -> tuple[Field, Field, Field]:
    """Distance to the nearest and second-nearest feature point (one per unit square), and a value per cell."""
    offsets, values = rng.uniform(0.1, 0.9, (64, 64, 2)), rng.uniform(0, 1, (64, 64))
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    distances, owners = [], []
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            cell = ((i + di) % 64, (j + dj) % 64)
            point = offsets[cell]
            distances.append(np.hypot(i + di + point[..., 0] - u, j + dj + point[..., 1] - v))
            owners.append(values[cell])
    stacked = np.stack(distances)
    order = stacked.argsort(axis=0)
    first, second = (np.take_along_axis(stacked, order[k][None], axis=0)[0] for k in (0, 1))
    return first, second, np.take_along_axis(np.stack(owners), order[0][None], axis=0)[0]


def stripes(u: Field, v: Field, rng: Rng) -> Field:
    return _sharp(0.5 + 0.5 * np.sin(2 * np.pi * u), 0.3)


def checkers(u: Field, v: Field, rng: Rng) -> Field:
    return _sharp(0.5 + 0.5 * np.sin(np.pi * u) * np.sin(np.pi * v), 0.15)


def dots(u: Field, v: Field, rng: Rng) -> Field:
    row = np.floor(v)
    return _sharp(0.5 + rng.uniform(0.25, 0.36) - np.hypot((u + 0.5 * (row % 2)) % 1 - 0.5, v % 1 - 0.5), 0.1)


def bricks(u: Field, v: Field, rng: Rng) -> Field:
    row = np.floor(v * 1.2)
    across, up = (u * 0.6 + 0.5 * (row % 2)) % 1, (v * 1.2) % 1
    tone = rng.uniform(0.6, 1, (64, 64))[row.astype(int) % 64, np.floor(u * 0.6 + 0.5 * (row % 2)).astype(int) % 64]
    field: Field = np.where((across < 0.08) | (up < 0.15), 0.0, tone)
    return field


def wood(u: Field, v: Field, rng: Rng) -> Field:
    grain = u * 0.9 + 1.1 * _lattice(u * 0.3, v * 0.12, rng) + 0.15 * _lattice(u * 4, v * 0.4, rng)
    rings: Field = (grain * 1.5) % 1
    return rings


def marble(u: Field, v: Field, rng: Rng) -> Field:
    veins: Field = np.abs(np.sin(np.pi * (0.35 * u + 2.2 * _cloud(u * 0.6, v * 0.6, rng)))) ** 0.5
    return veins


def clouds(u: Field, v: Field, rng: Rng) -> Field:
    return np.clip((_cloud(u * 0.7, v * 0.7, rng) - 0.5) * 2.2 + 0.5, 0, 1)


def pebbles(u: Field, v: Field, rng: Rng) -> Field:
    first, second, tone = _cells(u, v, rng)
    stones: Field = np.clip((second - first) * 3, 0, 1) * (0.5 + 0.5 * tone)
    return stones


def cracks(u: Field, v: Field, rng: Rng) -> Field:
    bend = _lattice(u * 2, v * 2, rng)
    first, second, _ = _cells(u * 0.8 + 0.4 * bend, v * 0.8 + 0.4 * bend, rng)
    lines: Field = 0.15 + 0.85 * np.clip((second - first) / 0.09, 0, 1)
    return lines


def speckles(u: Field, v: Field, rng: Rng) -> Field:
    first, _, tone = _cells(u * 1.8, v * 1.8, rng)
    return _sharp(0.5 + 0.42 * tone**2 - first, 0.08)


def weave(u: Field, v: Field, rng: Rng) -> Field:
    over = (np.floor(u * 1.4) + np.floor(v * 1.4)) % 2 == 0
    across, along = np.abs((u * 1.4) % 1 - 0.5), np.abs((v * 1.4) % 1 - 0.5)
    return np.where(over, 1 - 1.7 * across, 0.75 - 1.7 * along)


def scales(u: Field, v: Field, rng: Rng) -> Field:
    best = np.zeros_like(u)
    for layer in (2, 1, 0):  # nearer rows lie over farther ones
        row = np.floor(v * 1.5) - layer
        distance = np.hypot((u + 0.5 * (row % 2)) % 1 - 0.5, (v * 1.5 - row) * 0.55 - 0.1)
        best = np.where(distance < 0.62, 1 - distance * 1.5, best)
    return best


PATTERNS: dict[str, Callable[[Field, Field, Rng], Field]] = {
    pattern.__name__: pattern
    for pattern in (
        stripes,
        checkers,
        dots,
        bricks,
        wood,
        marble,
        clouds,
        pebbles,
        cracks,
        speckles,
        weave,
        scales,
    )
}
