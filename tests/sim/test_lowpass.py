"""Block means against slow loops, and the energy that they keep."""

from __future__ import annotations

import numpy as np
import pytest

from sim.lowpass import block_means


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((8, 16), 4, 8), ((7, 13), 3, 5), ((4, 4), 4, 4), ((5, 3), 1, 1)]
)
def test_each_cell_is_the_mean_of_the_pixels_that_it_covers(shape: tuple[int, int], rows: int, columns: int) -> None:
    pixels = np.random.default_rng(0).random((*shape, 4)).astype(np.float32)
    means = block_means(pixels, rows, columns)
    assert means.shape == (rows, columns, 4) and means.dtype == np.float32
    tops = [row * shape[0] // rows for row in range(rows + 1)]
    lefts = [column * shape[1] // columns for column in range(columns + 1)]
    for row in range(rows):
        for column in range(columns):
            block = pixels[tops[row] : tops[row + 1], lefts[column] : lefts[column + 1]]
            np.testing.assert_allclose(means[row, column], block.mean(axis=(0, 1)), rtol=1e-6)


def test_a_sun_of_one_pixel_keeps_its_energy() -> None:
    pixels = np.zeros((512, 1024, 4), np.float32)
    pixels[100, 200] = 60_000
    assert block_means(pixels, 128, 256).sum() * 16 == pytest.approx(4 * 60_000)
