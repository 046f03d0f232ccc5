"""Computed environments: the sky's physics, and the file that Blender reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.skies import MADE, PLAIN, SKIES, environment_file, environment_pixels, radiance_bytes, sky_pixels


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_there_is_a_plain_one_and_eight_skies() -> None:
    assert (PLAIN, *SKIES) == MADE and len(SKIES) == 8
    assert np.ptp(environment_pixels(PLAIN)) == 0
    for name in SKIES:
        pixels = environment_pixels(name)
        assert np.isfinite(pixels).all() and (pixels >= 0).all()


@pytest.mark.parametrize("elevation", [5.0, 30.0, 60.0])
def test_a_sky_is_brightest_about_the_sun_and_blue_away_from_it(elevation: float) -> None:
    sky = sky_pixels(elevation)[:32]  # (zenith angle, azimuth, colour), the sun in the middle column
    brightest = np.unravel_index(sky.sum(2).argmax(), sky.shape[:2])
    assert abs(int(brightest[1]) - 63.5) <= 2
    assert (int(brightest[0]) + 0.5) / 64 * 180 == pytest.approx(90 - elevation, abs=6)
    behind = sky[16, 0]
    assert behind[2] > 1.2 * behind[0]
    np.testing.assert_allclose(sky, sky[:, ::-1], rtol=1e-9)  # symmetric about the sun's meridian


def test_skies_have_a_mean_brightness_of_one_over_even_ground() -> None:
    for name in SKIES:
        pixels = environment_pixels(name)
        weights = np.sin((np.arange(32) + 0.5) / 64 * np.pi)
        assert np.average(pixels[:32].mean((1, 2)), weights=weights) == pytest.approx(1)
        assert np.ptp(pixels[32:]) == 0


def test_the_file_holds_the_pixels() -> None:
    cv2 = pytest.importorskip("cv2", reason="needs simpath[render]")
    for name in MADE:
        read = cv2.imread(str(environment_file(name)), cv2.IMREAD_UNCHANGED)[..., ::-1]
        wanted = environment_pixels(name)
        brightest = wanted.max(2, keepdims=True)
        assert (np.abs(read - wanted) <= brightest / 100).all()  # eight bits beside a shared exponent


def test_black_stays_black() -> None:
    assert radiance_bytes(np.zeros((1, 8, 3)))[-32:] == bytes([0, 0, 0, 128] * 8)


def test_a_file_is_written_once(tmp_path: Path) -> None:
    first = environment_file("computed:sky_3")
    written = first.stat().st_mtime_ns
    assert environment_file("computed:sky_3") == first and first.stat().st_mtime_ns == written
    assert [path.name for path in first.parent.iterdir()] == [first.name] == ["sky_3-1.hdr"]


def test_an_unknown_environment_is_refused() -> None:
    for name in ("sea", "plain"):  # "plain" may well be the name of somebody's own environment map
        with pytest.raises(ValueError, match=f"no computed environment '{name}'"):
            environment_file(name)
