"""Environments that are computed: `background: plain` (even grey) and `background: sky` (clear skies, plain ground).

In: a name. Out: a small Radiance (.hdr) file in the user's cache, written once.

Source of the sky: Preetham, Shirley and Smits, "A Practical Analytic Model for Daylight" (SIGGRAPH 1999), the Perez
formula of zenith-relative luminance and chromaticity at turbidity 3. Deviations:

1. No sun disc: the sun is a lamp of its own.
2. Scaled to a mean brightness of 1, the ground an even grey of 0.3: an environment as bright as the photographed ones.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# With a colon, so that no environment map of a user's folder has the same name.
PLAIN = "computed:plain"
SKY_ELEVATIONS_DEG = (4.0, 10.0, 18.0, 27.0, 37.0, 48.0, 60.0, 75.0)
"""Height of the sun over the horizon in the eight skies."""
SKIES = tuple(f"computed:sky_{number}" for number in range(len(SKY_ELEVATIONS_DEG)))
MADE = (PLAIN, *SKIES)
VERSION = 1
"""Part of the file's name: to be raised when the pixels change."""
WIDTH, HEIGHT = 128, 64
TURBIDITY = 3.0
GROUND = 0.3
PLAIN_GREY = 0.5


def environment_file(name: str) -> Path:
    """The file of a computed environment, written if it is not there yet.

    Raises:
        ValueError: no computed environment has that name.
        OSError: the cache cannot be written.
    """
    if name not in MADE:
        raise ValueError(f"no computed environment {name!r}; allowed: {', '.join(MADE)}")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    place = Path(base) / "simpath" / "environments" / f"{name.partition(':')[2]}-{VERSION}.hdr"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as file:
            file.write(radiance_bytes(environment_pixels(name)))
        Path(file.name).replace(place)
    return place


def environment_pixels(name: str) -> Array:
    """Equirectangular linear RGB (H, W, 3), top row the zenith, the sky's sun side in the middle column."""
    if name == PLAIN:
        return np.full((HEIGHT, WIDTH, 3), PLAIN_GREY)
    return sky_pixels(SKY_ELEVATIONS_DEG[SKIES.index(name)])


def sky_pixels(sun_elevation_deg: float) -> Array:
    """A clear sky over even ground (H, W, 3)."""
    zenith_angle = (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    azimuth = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 2 * np.pi
    theta = np.minimum(zenith_angle, np.radians(89.5))[:, None] + 0 * azimuth[None, :]  # (H, W)
    sun = np.radians(90 - sun_elevation_deg)
    cosine = np.cos(theta) * np.cos(sun) + np.sin(theta) * np.sin(sun) * np.cos(azimuth)[None, :]
    gamma = np.arccos(np.clip(cosine, -1, 1))
    t = TURBIDITY
    chi = (4 / 9 - t / 120) * (np.pi - 2 * sun)
    luminance = (4.0453 * t - 4.9710) * np.tan(chi) - 0.2155 * t + 2.4192
    powers = np.array([sun**3, sun**2, sun, 1.0])
    turbidities = np.array([t * t, t, 1.0])
    zenith_x = turbidities @ np.array(
        [[0.00166, -0.00375, 0.00209, 0], [-0.02903, 0.06377, -0.03202, 0.00394], [0.11693, -0.21196, 0.06052, 0.25886]]
    ) @ powers  # fmt: skip
    zenith_y = turbidities @ np.array(
        [[0.00275, -0.00610, 0.00317, 0], [-0.04214, 0.08970, -0.04153, 0.00516], [0.15346, -0.26756, 0.06670, 0.26688]]
    ) @ powers  # fmt: skip
    high = luminance * _perez(theta, gamma, sun, (0.1787, -0.3554, -0.0227, 0.1206, -0.0670),
                              (-1.4630, 0.4275, 5.3251, -2.5771, 0.3703))  # fmt: skip
    x = zenith_x * _perez(theta, gamma, sun, (-0.0193, -0.0665, -0.0004, -0.0641, -0.0033),
                          (-0.2592, 0.0008, 0.2125, -0.8989, 0.0452))  # fmt: skip
    y = zenith_y * _perez(theta, gamma, sun, (-0.0167, -0.0950, -0.0079, -0.0441, -0.0109),
                          (-0.2608, 0.0092, 0.2102, -1.6537, 0.0529))  # fmt: skip
    xyz = np.stack([x / y * high, high, (1 - x - y) / y * high], axis=-1)
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    rgb = np.maximum(xyz @ to_rgb.T, 0)
    above = (zenith_angle < np.pi / 2)[:, None, None]
    weights = np.sin(zenith_angle)[:, None, None] * above  # solid angle of a row
    rgb = rgb / np.average(rgb.mean(axis=2), weights=np.broadcast_to(weights[..., 0], rgb.shape[:2]))
    result: Array = np.where(above, rgb, GROUND)
    return result


def _perez(theta: Array, gamma: Array, sun: float, slopes: tuple[float, ...], offsets: tuple[float, ...]) -> Array:
    """Perez's distribution relative to its value at the zenith."""
    a, b, c, d, e = (slope * TURBIDITY + offset for slope, offset in zip(slopes, offsets, strict=True))

    def shape(theta: Array, gamma: Array) -> Array:
        result: Array = (1 + a * np.exp(b / np.cos(theta))) * (1 + c * np.exp(d * gamma) + e * np.cos(gamma) ** 2)
        return result

    return shape(theta, gamma) / shape(np.zeros(()), np.array(sun))


def radiance_bytes(pixels: Array) -> bytes:
    """A Radiance picture with shared exponents, not run-length coded."""
    height, width = pixels.shape[:2]
    mantissa, exponent = np.frexp(pixels.max(axis=2))
    scale = np.where(mantissa > 0, 256 * mantissa / np.maximum(pixels.max(axis=2), 1e-30), 0)
    coded = np.concatenate([pixels * scale[..., None], (exponent + 128.0)[..., None]], axis=2)
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"
    pixels_coded: bytes = np.clip(coded, 0, 255).astype(np.uint8).tobytes()
    return header.encode() + pixels_coded
