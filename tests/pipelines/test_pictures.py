"""Pictures of the report: sheets of tasks, data: addresses, files that are not pictures."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.pictures import embed_picture, open_picture, task_sheet, write_whole


def test_a_sheet_holds_every_image_and_small_ones_stay_sharp(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (300, 100), (200, 30, 30)).save(photo)
    digit = np.zeros((8, 8), np.uint8)
    digit[:, 4:] = 255
    task_sheet([photo, digit, digit], ["a", "0", "a very long class name indeed"], tmp_path / "sheet.png", columns=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 102 + 6, 2 * 120 + 6)
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert (abs(pixels[54, 54] - (200, 30, 30)) < 8).all()  # the photo's middle
    assert (pixels[10, 54] == 255).all()  # above the photo: it keeps its proportions
    second = pixels[6:102, 108:204]
    assert set(np.unique(second)) == {0, 255}


@pytest.mark.parametrize("images", [[], [np.zeros((4, 4), np.uint8)] * 2])
def test_labels_must_match_images(tmp_path: Path, images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="as many labels as images"):
        task_sheet(images, ["one"] if images else [], tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_float_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float64 \(4, 4\); allowed: uint8"):
        task_sheet([np.zeros((4, 4))], ["x"], tmp_path / "sheet.png")


def test_a_picture_is_made_narrower_and_encoded_the_smaller_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 255, (300, 600, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    Image.new("L", (100, 50), 255).save(tmp_path / "flat.png")
    noise = embed_picture(tmp_path / "noise.png", max_width=200)
    flat = embed_picture(tmp_path / "flat.png", max_width=200)
    assert (noise.width, noise.height) == (200, 100) and noise.uri.startswith("data:image/jpeg;base64,")
    assert (flat.width, flat.height) == (100, 50) and flat.uri.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(noise.uri.split(",")[1]))) as image:
        assert image.size == (200, 100)


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_picture(tmp_path / "clear.png").getpixel((1, 1)) == (255, 255, 255)


def test_bombs_and_other_files_are_refused_by_name(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    (tmp_path / "page.png").write_text("<svg onload=alert(1)>")
    for name in ("bomb.png", "page.png"):
        with pytest.raises(ValueError, match=rf"{name} is no readable picture") as caught:
            open_picture(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"gone\.png is missing"):
        open_picture(tmp_path / "gone.png")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep/page.html", b"new")
    assert (tmp_path / "deep/page.html").read_bytes() == b"new"
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "taken"]
