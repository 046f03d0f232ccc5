"""Whatever kind of file a user has, the same picture comes out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from transfer.images import UnreadableImage, array_to_image, decode_image, resize_and_crop


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_an_rgb_picture_is_returned_as_it_is() -> None:
    pixels = noise(9, 7, 3)
    assert np.array_equal(np.asarray(decode_image(encode(Image.fromarray(pixels)))), pixels)


def test_grey_becomes_three_equal_channels() -> None:
    pixels = noise(9, 7)
    decoded = np.asarray(decode_image(encode(Image.fromarray(pixels))))
    assert np.array_equal(decoded, np.repeat(pixels[..., None], 3, axis=2))


def test_sixteen_bit_grey_keeps_its_brightness_relative_to_65535() -> None:
    wide = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encode(Image.fromarray(wide))))
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floating_point_pictures_are_read_as_zero_to_one_or_stretched() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert np.asarray(decode_image(encode(Image.fromarray(unit), "TIFF")))[0, :, 0].tolist() == [0, 128, 255]
    far = np.array([[-10.0, 0.0, 10.0]], dtype=np.float32)
    assert np.asarray(decode_image(encode(Image.fromarray(far), "TIFF")))[0, :, 0].tolist() == [0, 128, 255]


def test_transparent_pixels_lie_on_white_whatever_their_hidden_colour() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (255, 0, 128)
    decoded = np.asarray(decode_image(encode(Image.fromarray(rgba))))
    assert decoded[0, 0].tolist() == [200, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert decoded[0, 2, 0] > 200 and decoded[0, 2, 1] == pytest.approx(127, abs=1)


def test_a_palette_with_a_transparent_entry_lies_on_white_too() -> None:
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    decoded = np.asarray(decode_image(encode(image, transparency=1)))
    assert decoded[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_cmyk_jpegs_come_out_in_their_colours() -> None:
    red = Image.new("RGB", (16, 16), (220, 30, 30)).convert("CMYK")
    decoded = np.asarray(decode_image(encode(red, "JPEG", quality=95)))
    assert np.abs(decoded.astype(int) - [220, 30, 30]).max() < 12


def test_exif_orientation_turns_the_picture_upright() -> None:
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, :16] = 255  # white left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    decoded = np.asarray(decode_image(encode(Image.fromarray(pixels), "JPEG", quality=100, exif=exif)))
    assert decoded.shape == (32, 16, 3)
    assert decoded[:14].min() > 240 and decoded[18:].max() < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_is_unreadable(kind: str) -> None:
    data = encode(Image.fromarray(noise(64, 64, 3)), kind)
    with pytest.raises(UnreadableImage):
        decode_image(data[: len(data) // 2])


def test_text_is_unreadable_and_an_absent_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage):
        decode_image(b"this is no image")
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / "absent.png")


@pytest.mark.parametrize("kind", ["EPS", "TGA"])
def test_only_plain_formats_are_read_whatever_the_name_says(tmp_path: Path, kind: str) -> None:
    """Pillow would start Ghostscript for PostScript."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(Image.fromarray(noise(8, 8, 3)), kind))
    with pytest.raises(UnreadableImage, match="cannot identify image file"):
        decode_image(path)


def test_an_array_of_another_type_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="float64"):
        array_to_image(np.zeros((4, 4)))


@pytest.mark.parametrize("shape", [(300, 400), (401, 300), (256, 256), (31, 97)])
def test_resize_and_crop_agrees_with_torchvision(shape: tuple[int, int]) -> None:
    image = Image.fromarray(noise(*shape, 3, seed=shape[0]))
    transform = v2.Compose(
        [v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(224), v2.PILToTensor()]
    )
    assert torch.equal(torch.from_numpy(resize_and_crop(image, size=224, resize=256)), transform(image))
