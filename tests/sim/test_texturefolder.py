"""Folders of PBR texture sets: names of both sites, what is read, what is refused and why, and what Blender shows."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.configs import canonical
from sim.assets import CatalogConfig, load_catalog, require_all_assets, skipped_assets
from sim.dataset import render_dataset
from sim.params import SimParams, SimRanges
from sim.room import sample_room
from sim.scene import SceneSpec, sample_scene
from sim.shards import RenderConfig
from sim.texturefolder import kind_of, parse_name, scan_textures
from sim.textures import heights_of_normals, read_textures

pytestmark = pytest.mark.usefixtures("one_importer")
needs_blender = pytest.mark.skipif(find_spec("bpy") is None, reason="needs the bpy wheel")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def picture(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def ambientcg(folder: Path, name: str = "Wood049", color: tuple[int, int, int] = (200, 100, 50)) -> None:
    stem = f"{name}_1K-JPG"
    picture(folder / f"{stem}_Color.png", color)
    picture(folder / f"{stem}_Roughness.png", (128, 128, 128))
    picture(folder / f"{stem}_Metalness.png", (255, 255, 255))
    picture(folder / f"{stem}_NormalGL.png", (128, 128, 255))
    picture(folder / f"{stem}_AmbientOcclusion.png", (255, 255, 255))
    picture(folder / f"{name}.png", (1, 2, 3))  # the preview that comes with the download


def png_header(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


def exr_header(width: int, height: int) -> bytes:
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    return b"\x76\x2f\x31\x01\x02\0\0\0" + b"dataWindow\0box2i\0" + struct.pack("<i", 16) + window + b"\0"


def decoded(maps: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(read_textures(maps)[name])))


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("Wood049_1K-JPG_Color", ("Wood049", "color", 1)),
        ("Wood049_2K_Color", ("Wood049", "color", 2)),
        ("PavingStones131_Roughness", ("PavingStones131", "roughness", 0)),
        ("Metal032_1K-PNG_Metalness", ("Metal032", "metalness", 1)),
        ("Rock030_4K-JPG_NormalGL", ("Rock030", "normal_gl", 4)),
        ("Rock030_4K-JPG_NormalDX", ("Rock030", "normal_dx", 4)),
        ("Rock030_1K_Normal", ("Rock030", "normal_gl", 1)),
        ("Rock030_1K-JPG_Displacement", ("Rock030", "displacement", 1)),
        ("Rock030_1K-JPG_AmbientOcclusion", ("Rock030", None, 1)),
        ("aerial_rocks_02_diff_1k", ("aerial_rocks_02", "color", 1)),
        ("aerial_rocks_02_rough_2k", ("aerial_rocks_02", "roughness", 2)),
        ("aerial_rocks_02_nor_gl_1k", ("aerial_rocks_02", "normal_gl", 1)),
        ("rusty_metal_metal_1k", ("rusty_metal", "metalness", 1)),
        ("castle_brick_disp_1k", ("castle_brick", "displacement", 1)),
        ("castle_brick_arm_1k", ("castle_brick", "arm", 1)),
        ("castle_brick_ao_1k", ("castle_brick", None, 1)),
    ],
)
def test_file_names_of_both_sites_are_understood(stem: str, expected: tuple[str, str | None, int]) -> None:
    parsed = parse_name(stem)
    assert parsed is not None
    assert (parsed.set_name, parsed.role, parsed.resolution_k) == expected


def test_other_names_are_no_maps() -> None:
    assert [parse_name(stem) for stem in ("wood", "IMG_0042", "_Color", "Wood049_Colors")] == [None] * 4


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (("Wood049",), "wood"),
        (("PavingStones131",), "stone"),
        (("aerial_rocks_02",), "stone"),
        (("castle_brick_07",), "brick"),
        (("metal", "scratched_thing"), "metal"),
        (("fabric", "Wood049"), "wood"),
        (("thing",), "other"),
    ],
)
def test_the_kind_is_a_word_of_the_name_or_the_folder_above(parts: tuple[str, ...], kind: str) -> None:
    assert kind_of(parts) == kind


def test_a_set_in_ambientcg_names_becomes_a_material(tmp_path: Path) -> None:
    ambientcg(tmp_path / "Wood049_1K-JPG")
    (tmp_path / "LICENSE").write_text("CC0 1.0 Universal\n")
    scan = scan_textures(tmp_path)
    (found,) = scan.sets
    assert scan.problems == {} and scan.license == "CC0 1.0 Universal"
    assert found.material.name == "texture:Wood049_1K-JPG/Wood049"
    assert (found.material.category, found.material.pattern) == ("wood", "maps")
    assert len(found.sha256) == 64
    assert (decoded(found.maps, "color") == (200, 100, 50)).all()
    assert (decoded(found.maps, "surface") == (0, 128, 255)).all()


def test_a_set_in_poly_haven_names_takes_roughness_and_metalness_from_arm(tmp_path: Path) -> None:
    picture(tmp_path / "textures" / "rusty_metal_02_diff_1k.jpg", (90, 90, 90), (16, 8))
    picture(tmp_path / "textures" / "rusty_metal_02_arm_1k.png", (255, 64, 32))
    (found,) = scan_textures(tmp_path).sets
    assert found.material.category == "metal"
    surface = decoded(found.maps, "surface")
    assert surface.shape == (8, 16, 3) and (surface == (0, 64, 32)).all()


def test_the_lowest_resolution_without_loss_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "rock_diff_2k.png", (2, 2, 2))
    picture(tmp_path / "rock_diff_1k.jpg", (200, 10, 10))
    picture(tmp_path / "rock_diff_1k.png", (1, 1, 1))
    (found,) = scan_textures(tmp_path).sets
    assert (decoded(found.maps, "color") == 1).all()


def test_large_maps_are_reduced_and_deep_ones_keep_their_depth(tmp_path: Path) -> None:
    picture(tmp_path / "rock_diff_1k.jpg", (90, 90, 90), (2048, 1024))
    ramp = np.tile(np.linspace(1000, 1400, 64, dtype=np.uint16), (32, 1))
    Image.fromarray(ramp).save(tmp_path / "rock_disp_1k.png")
    (found,) = scan_textures(tmp_path).sets
    assert decoded(found.maps, "color").shape == (256, 512, 3)
    height = decoded(found.maps, "height")
    assert height.min() == 0 and height.max() == 65535 and len(np.unique(height)) == 64
    assert found.material.bump == pytest.approx(0.03)


@pytest.mark.parametrize("direct_x", [False, True])
def test_normals_become_the_heights_that_they_came_from(direct_x: bool) -> None:
    rows, columns = 64, 128
    x, y = np.meshgrid(np.arange(columns) / columns, np.arange(rows) / columns)  # widths of the texture
    heights = 0.01 * np.sin(2 * np.pi * 3 * x) * np.cos(2 * np.pi * 2 * y * columns / rows)
    dx = 0.01 * 6 * np.pi * np.cos(2 * np.pi * 3 * x) * np.cos(2 * np.pi * 4 * y)
    dy = -0.01 * 8 * np.pi * np.sin(2 * np.pi * 3 * x) * np.sin(2 * np.pi * 4 * y)
    normals = np.stack([-dx, dy, np.ones_like(dx)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    if direct_x:  # a map in the other convention is another surface: the test can fail
        normals[..., 1] *= -1
        assert np.abs(heights_of_normals(normals) - heights).max() > 1e-3
        return
    np.testing.assert_allclose(heights_of_normals(normals), heights, atol=1e-9)


def broken(folder: Path, kind: str) -> str:
    """Break one file of a set; its name."""
    if kind == "huge png":
        (folder / "Bad_Color.png").write_bytes(png_header(100_000, 100_000))
    elif kind == "huge exr":
        picture(folder / "Bad_Color.png", (1, 1, 1))
        (folder / "Bad_Roughness.exr").write_bytes(exr_header(100_000, 100_000))
        return "Bad_Roughness.exr"
    elif kind == "truncated":
        data = picture(folder / "Bad_Color.png", (1, 1, 1), (64, 64)).read_bytes()
        (folder / "Bad_Color.png").write_bytes(data[:60])
    elif kind == "empty":
        (folder / "Bad_Color.png").write_bytes(b"")
    elif kind == "other format":
        Image.new("RGB", (4, 4)).save(folder / "Bad_Color.png", "GIF")
    elif kind == "not exr":
        (folder / "Bad_Color.exr").write_bytes(b"no picture")
        return "Bad_Color.exr"
    elif kind == "link outside":
        (folder / "Bad_Color.png").symlink_to(picture(folder.parent / "outside.png", (1, 1, 1)))
    elif kind == "dangling":
        (folder / "Bad_Color.png").symlink_to(folder / "nothing.png")
    elif kind == "no colour":
        picture(folder / "Bad_Roughness.png", (1, 1, 1))
        return "Bad_Roughness.png"
    else:
        picture(folder / "holiday.png", (1, 1, 1))
        return "holiday.png"
    return "Bad_Color.png"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("huge png", "a texture of 100000 x 100000 pixels; allowed: 67108864 in all"),
        ("huge exr", "a texture of 100000 x 100000 pixels"),
        ("truncated", "cannot be read as a picture"),
        ("empty", "it has 0 bytes"),
        ("other format", "cannot be read as a picture"),
        ("not exr", "not an OpenEXR file"),
        ("link outside", "leads outside the texture folder"),
        ("dangling", "a link to nothing"),
        ("no colour", "no colour map"),
        ("strange name", "ends in no map's name"),
    ],
)
def test_a_broken_file_is_skipped_with_its_reason(tmp_path: Path, kind: str, reason: str) -> None:
    root = tmp_path / "textures"
    ambientcg(root)
    name = broken(root, kind)
    scan = scan_textures(root)
    assert [found.material.name for found in scan.sets] == ["texture:Wood049"]
    assert list(scan.problems) == [name] and reason in scan.problems[name]


def test_what_is_skipped_is_an_error_when_all_files_are_wanted(tmp_path: Path) -> None:
    ambientcg(tmp_path)
    require_all_assets(CatalogConfig(textures=str(tmp_path)))
    picture(tmp_path / "holiday.png", (1, 1, 1))
    with pytest.raises(ValueError, match=r"holiday\.png: its name .* \(1 files were not taken\)"):
        scan_textures(tmp_path, strict=True)
    config = CatalogConfig(textures=str(tmp_path))
    assert list(skipped_assets(config)) == ["holiday.png"]
    with pytest.raises(ValueError, match=r"holiday\.png"):
        require_all_assets(config)


def test_a_folder_without_a_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scan_textures(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no texture set; wanted"):
        scan_textures(tmp_path)
    picture(tmp_path / "holiday.png", (1, 1, 1))
    with pytest.raises(ValueError, match=r"left without a texture set; first reason: holiday\.png"):
        scan_textures(tmp_path)


def test_textures_are_drawn_and_enter_digest_index_and_card(tmp_path: Path) -> None:
    ambientcg(tmp_path / "t", "Wood049")
    ambientcg(tmp_path / "t", "Bricks025", (150, 60, 60))
    catalog_config = CatalogConfig(num_classes=3, models_per_class=2, textures=str(tmp_path / "t"))
    catalog = load_catalog(catalog_config)
    assert [material.name for material in catalog.materials] == ["texture:Bricks025", "texture:Wood049"]
    drawn = sample_scene(catalog, SimParams(materials="random"), SimRanges(), 0, 0).materials
    assert drawn and {material.pattern for material in drawn} == {"maps"}
    room = sample_room(catalog, SimParams(materials="random"), SimRanges(), 0, 0)
    assert {material.pattern for material in room.all_materials()} == {"maps"}
    without = load_catalog(dataclasses.replace(catalog_config, textures=None))
    assert without.digest() != catalog.digest()
    ambientcg(tmp_path / "t", "Wood049", (201, 100, 50))
    assert load_catalog(catalog_config).digest() != catalog.digest()

    config = RenderConfig(params=SimParams(materials="random"), catalog=catalog_config, size=16)
    render_dataset(config, out=tmp_path / "out", num_images=3, workers=1, factory=flat)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert [item["name"] for item in index["textures"]] == ["texture:Bricks025", "texture:Wood049"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 texture sets: not stated" in card and "Texture sets: Bricks025, Wood049" in card


def test_without_textures_configurations_are_recorded_as_before() -> None:
    config = RenderConfig()
    known = {"seed", "num_classes", "models_per_class", "assets", "hdris"}
    assert set(config.as_json()["catalog"]) == known
    assert set(canonical(config)["catalog"]) == known
    other = RenderConfig(catalog=CatalogConfig(textures="/t", trust_assets=True))
    assert set(other.as_json()["catalog"]) == set(canonical(other)["catalog"]) == {*known, "textures", "trust_assets"}
    # written before there were texture folders
    assert load_catalog(CatalogConfig(num_classes=2, models_per_class=1)).digest() == OLD_DIGEST


OLD_DIGEST = "940d3d56eaf10a286e69d48c4ee8c689f392ac777e3997cc957c08f0102484d9"


class Flat:
    version = "flat 1"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            yield spec, np.full((16, 16, 3), 99, np.uint8)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    return nullcontext(Flat())


@pytest.mark.blender
@needs_blender
def test_blender_shows_the_picture_on_a_mesh_without_coordinates_and_reads_exr(tmp_path: Path) -> None:
    """One set is red and blue halves of which both must be seen; its roughness is a compressed .exr file."""
    from sim.render import BlenderRenderer, RenderError
    from sim.wire import RenderSettings

    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:, :4, 0], halves[:, 4:, 2] = 255, 255
    Image.fromarray(halves).save(tmp_path / "Paint_Color.png")
    write_exr(tmp_path / "Paint_Roughness.exr", 0.25)
    catalog = load_catalog(CatalogConfig(num_classes=1, models_per_class=1, textures=str(tmp_path)))
    assert catalog.materials[0].roughness == pytest.approx(0.25, abs=0.01)
    params = SimParams(materials="random", background="plain")
    spec = sample_scene(catalog, params, SimRanges(), 0, 0)
    with BlenderRenderer(catalog, RenderSettings(size=32, samples=4), threads=1) as renderer:
        ((_, pixels),) = renderer.render([spec])
        unknown = dataclasses.replace(spec.materials[0], name="texture:none")
        with pytest.raises((ValueError, RenderError), match="texture:none"):
            list(renderer.render([dataclasses.replace(spec, materials=(unknown,) * len(spec.materials))]))
    red, blue = (pixels[..., channel].astype(int) - pixels[..., 2 - channel] for channel in (0, 2))
    assert (red > 60).sum() > 10 and (blue > 60).sum() > 10


def write_exr(path: Path, value: float) -> None:
    """An even grey, ZIP-compressed, in half floats, written by Blender in a process of its own."""
    import subprocess
    import sys

    code = (
        "import bpy, sys\n"
        "image = bpy.data.images.new('x', 8, 8, float_buffer=True)\n"
        "image.colorspace_settings.name = 'Non-Color'\n"  # a made image is written as displayed otherwise
        "image.pixels.foreach_set(([float(sys.argv[2])] * 3 + [1.0]) * 64)\n"
        "image.file_format, image.filepath_raw = 'OPEN_EXR', sys.argv[1]\n"
        "image.save()\n"
        "import os; os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(value)], check=True, capture_output=True)
