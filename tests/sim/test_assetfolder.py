"""Users' own files: layouts, what is read, what is refused and why. Small files made here; real ones where present."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sim import importer
from sim.assetfolder import SUFFIXES, scan_hdris, scan_models
from sim.assets import CatalogConfig, load_catalog, skipped_assets
from sim.importing import ImportRefused, import_file
from sim.layouts import find_models
from sim.meshfile import read_mesh
from sim.skies import radiance_bytes

trimesh = pytest.importorskip("trimesh", reason="needs simpath[render]")
pytestmark = pytest.mark.usefixtures("one_importer")
REAL = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def box(path: Path, extents: tuple[float, float, float] = (2.0, 1.0, 4.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.creation.box(extents=extents).export(path)
    return path


@pytest.mark.parametrize(("suffix", "tall"), [("glb", 1), ("gltf", 1), ("obj", 1), ("ply", 2), ("stl", 2)])
def test_every_format_is_centred_scaled_and_put_upright(tmp_path: Path, suffix: str, tall: int) -> None:
    """The box is 1 : 2 : 4; `tall` is its axis of length 4, which is up in the file."""
    extents = [1.0, 2.0, 2.0]
    extents[tall] = 4.0
    folder = tmp_path / "crates"
    folder.mkdir()
    mesh = trimesh.creation.box(extents=extents)
    mesh.apply_translation([10, 20, 30])
    if suffix == "gltf":
        for name, data in mesh.export(file_type="gltf").items():
            (folder / name).write_bytes(data)
    else:
        mesh.export(folder / f"box.{suffix}")
    scan = scan_models(tmp_path)
    (model,) = scan.models["crates"]
    made = read_mesh(model.mesh).mesh
    low, high = made.vertices.min(0), made.vertices.max(0)
    np.testing.assert_allclose(high - low, [0.25, 0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(low + high, 0, atol=1e-6)
    assert len(made.faces) == 12 and len(model.materials) == 1
    normals = np.cross(*(made.vertices[made.faces[:, k]] - made.vertices[made.faces[:, 0]] for k in (1, 2)))
    assert (np.sum(normals * made.vertices[made.faces].mean(1), axis=1) > 0).all()  # faces still look outwards
    assert not scan.problems


def test_a_texture_and_its_coordinates_come_along(tmp_path: Path) -> None:
    picture = Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8))
    mesh = trimesh.creation.box()
    uv = np.random.default_rng(0).random((len(mesh.vertices), 2))
    mesh.visual = trimesh.visual.TextureVisuals(
        uv=uv, material=trimesh.visual.material.PBRMaterial(baseColorTexture=picture, metallicFactor=0.0)
    )
    (tmp_path / "c").mkdir()
    mesh.export(tmp_path / "c" / "m.glb")
    (model,) = scan_models(tmp_path).models["c"]
    made = read_mesh(model.mesh)
    assert model.materials[0].pattern == "texture"
    assert made.uv is not None and made.uv.shape == (12, 3, 2)
    assert Image.open(io.BytesIO(made.textures[0])).getpixel((1, 1)) == (255, 0, 0)


def test_vertex_colours_come_along(tmp_path: Path) -> None:
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = np.tile(np.array([0, 255, 0, 255], np.uint8), (8, 1))
    (tmp_path / "c").mkdir()
    mesh.export(tmp_path / "c" / "m.ply")
    (model,) = scan_models(tmp_path).models["c"]
    made = read_mesh(model.mesh)
    assert model.materials[0].pattern == "vertex"
    assert made.colors is not None and (made.colors[..., :3] == [0, 1, 0]).all()


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "c" / f"bad.{'gltf' if kind.startswith('gltf') else 'obj' if kind.startswith('obj') else 'ply'}"
    path.parent.mkdir(exist_ok=True)
    outside = tmp_path.parent / "outside.bin"
    outside.write_bytes(bytes(1000))
    if kind == "ply garbage":
        path.write_bytes(b"no mesh at all")
    elif kind == "ply empty":
        path.write_bytes(b"")
    elif kind == "obj no triangles":
        path.write_text("v 0 0 0\nv 1 0 0\n")
    elif kind == "obj nan":
        path.write_text("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n")
    elif kind == "obj flat line":
        path.write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    elif kind == "obj outside":
        path.write_text("mtllib ../../outside.bin\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    elif kind == "gltf outside":
        trimesh_gltf(path, uri="../../outside.bin")
    elif kind == "gltf huge texture":
        (path.parent / "huge.png").write_bytes(png_header(100_000, 100_000))
        trimesh_gltf(path, image="huge.png")
    elif kind.startswith("glb"):
        path = box(path.with_suffix(".glb"))
        data = path.read_bytes()
        changed = {
            "glb cut off": data[: len(data) // 2],
            "glb other magic": b"glXF" + data[4:],
            "glb long chunk": data[:12] + struct.pack("<I", 1 << 30) + data[16:],
            "glb damaged json": data[:20] + b"\xff" * 8 + data[28:],
        }
        path.write_bytes(changed[kind])
    elif kind == "ply link":
        target = tmp_path.parent / "elsewhere.ply"
        trimesh.creation.box().export(target)
        path.symlink_to(target)
    return path


def trimesh_gltf(path: Path, uri: str | None = None, image: str | None = None) -> None:
    """A box as .gltf whose buffer, or whose texture, is the given file."""
    mesh = trimesh.creation.box()
    if image is not None:
        picture = Image.new("RGB", (2, 2))
        mesh.visual = trimesh.visual.TextureVisuals(
            uv=np.zeros((8, 2)), material=trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
        )
    for name, data in mesh.export(file_type="gltf").items():
        if name.endswith(".gltf"):
            tree = json.loads(data)
            if uri is not None:
                tree["buffers"][0]["uri"] = uri
            if image is not None:
                tree["images"] = [{"uri": image}]
            path.write_text(json.dumps(tree))
        else:
            (path.parent / name).write_bytes(data)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size; no pixels behind the header."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ply garbage", "cannot be read as ply"),
        ("ply empty", "it has 0 bytes"),
        ("obj no triangles", "no triangles"),
        ("obj nan", "not finite"),
        ("obj flat line", "degenerate"),
        ("obj outside", "outside the asset folder"),
        ("gltf outside", "outside the asset folder"),
        ("gltf huge texture", "a texture of 100000 x 100000 pixels"),
        ("ply link", "leads outside the asset folder"),
        ("glb cut off", "cannot be read as glb"),
        ("glb other magic", "cannot be read as glb"),
        ("glb long chunk", "cannot be read as glb"),
        ("glb damaged json", "cannot be read as glb"),
    ],
)
def test_a_broken_or_hostile_file_is_skipped_with_its_reason(tmp_path: Path, kind: str, reason: str) -> None:
    root = tmp_path / "assets"
    root.mkdir()
    box(root / "c" / "good.glb")
    path = broken(root, kind)
    scan = scan_models(root)
    assert [model.source for model in scan.models["c"]] == ["c/good.glb"]
    assert list(scan.problems) == [path.relative_to(root).as_posix()]
    assert reason in scan.problems[f"c/{path.name}"]
    with pytest.raises(ValueError, match=r"files were not taken"):
        scan_models(root, strict=True)


def test_a_file_that_takes_too_long_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = box(tmp_path / "c" / "m.ply")
    job = {"path": str(path), "root": str(tmp_path), "up": "z", "out": str(tmp_path / "out.npz")}
    monkeypatch.setattr(importer, "TIME_LIMIT_S", 0.0)
    assert "took more than" in importer.run_job(job)["error"]


def test_an_empty_folder_and_an_empty_category_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no model"):
        scan_models(tmp_path)
    box(tmp_path / "a" / "m.glb")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "m.fbx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"category 'b' is left without a model; first reason: b/m\.fbx: \.fbx files"):
        scan_models(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scan_models(tmp_path / "none")


def test_category_names_may_be_anything_a_folder_may_be(tmp_path: Path) -> None:
    names = ["a.b", "two words", "Stühle", "椅子"]
    for name in names:
        box(tmp_path / name / "m.glb")
    assert sorted(names) == list(scan_models(tmp_path).models)


def test_shapenet_google_and_objaverse_folders_are_read_as_they_come(tmp_path: Path) -> None:
    box(tmp_path / "shapenet" / "02691156" / "id1" / "models" / "model_normalized.obj")
    (tmp_path / "shapenet" / "taxonomy.json").write_text(
        json.dumps([{"synsetId": "02691156", "name": "airplane,aeroplane"}])
    )
    assert list(scan_models(tmp_path / "shapenet").models) == ["airplane"]
    model = box(tmp_path / "google" / "Some_Shoe" / "meshes" / "model.obj", (1.0, 1.0, 4.0))
    (model.parents[1] / "metadata.pbtxt").write_text('name: "Some Shoe"\ncategories {\n  first: "Shoe"\n}\n')
    (shoe,) = scan_models(tmp_path / "google").models["Shoe"]
    assert np.ptp(read_mesh(shoe.mesh).mesh.vertices[:, 2]) == pytest.approx(1.0)  # z is up there
    box(tmp_path / "objaverse" / "glbs" / "000-001" / "abc.glb")
    box(tmp_path / "objaverse" / "glbs" / "000-001" / "unlisted.glb")
    (tmp_path / "objaverse" / "lvis-annotations.json").write_text(json.dumps({"mug": ["abc"]}))
    scan = scan_models(tmp_path / "objaverse")
    assert {name: len(models) for name, models in scan.models.items()} == {"mug": 1}


def test_a_changed_reference_is_imported_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for name, data in trimesh.creation.box().export(file_type="gltf").items():
        (folder / name).write_bytes(data)
    first = scan_models(tmp_path).models["c"][0].sha256
    assert scan_models(tmp_path).models["c"][0].sha256 == first
    for buffer in folder.glob("*.bin"):
        buffer.write_bytes(bytes(buffer.stat().st_size))
    with pytest.raises(ValueError, match="left without a model"):
        scan_models(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bad.exr", b"JFIF", "neither Radiance HDR nor OpenEXR"),
        ("bad.hdr", b"#?RADIANCE\n", "header is damaged"),
        ("bad.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 100000 +X 100000\n", "100000 x 100000 pixels"),
        ("bad.exr", b"\x76\x2f\x31\x01\x02\0\0\0", "header is damaged"),
    ],
)
def test_an_hdri_that_is_none_is_skipped_and_listed(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match="holds no"):
        scan_hdris(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="left without an environment map"):
        scan_hdris(tmp_path)
    (tmp_path / "sky.hdr").write_bytes(radiance_bytes(np.ones((2, 4, 3))))
    scan = scan_hdris(tmp_path)
    assert [found[0] for found in scan.maps] == ["sky"]
    assert list(scan.problems) == [name] and reason in scan.problems[name]
    with pytest.raises(ValueError, match="files were not taken"):
        scan_hdris(tmp_path, strict=True)
    assert skipped_assets(CatalogConfig(num_classes=1, hdris=str(tmp_path))) == scan.problems


def test_a_link_to_nothing_is_listed(tmp_path: Path) -> None:
    box(tmp_path / "c" / "good.glb")
    (tmp_path / "c" / "gone.glb").symlink_to(tmp_path / "c" / "nowhere.glb")
    assert scan_models(tmp_path).problems == {"c/gone.glb": "it is a link to nothing"}


@pytest.mark.blender
def test_fbx_and_usd_are_read_when_they_are_trusted(tmp_path: Path) -> None:
    pytest.importorskip("bpy", reason="needs the bpy wheel")
    (tmp_path / "c").mkdir()
    code = (
        "import bpy, os, sys\n"
        "bpy.ops.wm.read_factory_settings(use_empty=True)\n"
        "bpy.ops.mesh.primitive_cube_add()\n"
        "bpy.context.object.scale = (1, 2, 4)\n"
        "bpy.ops.preferences.addon_enable(module='io_scene_fbx')\n"
        "bpy.ops.export_scene.fbx(filepath=sys.argv[1] + '/m.fbx')\n"
        "bpy.ops.wm.usd_export(filepath=sys.argv[1] + '/m.usdc')\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")], check=True, capture_output=True)
    (tmp_path / "c" / "broken.fbx").write_bytes(b"no model")
    (tmp_path / "c" / "m.blend").write_bytes(b"BLENDER")
    box(tmp_path / "c" / "a.glb")
    closed = scan_models(tmp_path)
    assert [model.source for model in closed.models["c"]] == ["c/a.glb"]
    assert "--trust-assets" in closed.problems["c/m.fbx"] and "--trust-assets" in closed.problems["c/m.usdc"]
    scan = scan_models(tmp_path, trust=True)
    assert [model.source for model in scan.models["c"]] == ["c/a.glb", "c/m.fbx", "c/m.usdc"]
    assert set(scan.problems) == {"c/broken.fbx", "c/m.blend"}
    assert "Blender cannot read it" in scan.problems["c/broken.fbx"]
    for model in scan.models["c"][1:]:
        vertices = read_mesh(model.mesh).mesh.vertices
        np.testing.assert_allclose(np.ptp(vertices, axis=0), [0.25, 0.5, 1.0], atol=1e-5)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.xyz").write_text("1 2 3")
    with pytest.raises(ImportRefused, match=r"\.xyz is not one of"):
        import_file(tmp_path / "m.xyz", tmp_path, up="z")


def test_a_folder_becomes_a_catalogue(tmp_path: Path) -> None:
    for number in range(3):
        box(tmp_path / "crate" / f"{number}.glb", (1.0, 1.0 + number, 1.0))
    (tmp_path / "LICENSE").write_text("CC0 1.0 Universal\n...")
    catalog = load_catalog(CatalogConfig(assets=str(tmp_path)))
    assert catalog.classes == ("crate",)
    assert [asset.id for asset in catalog.models("crate", "train")] == ["crate/0", "crate/2"]
    assert {asset.license for asset in catalog.models("crate")} == {"CC0 1.0 Universal"}
    assert len({asset.sha256 for asset in catalog.models("crate")}) == 3


def test_a_folder_is_scanned_once_until_something_in_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "assets", tmp_path / "other cache"
    box(root / "c" / "good.glb")
    (root / "c" / "bad.ply").write_bytes(b"no mesh")
    config = CatalogConfig(assets=str(root))
    assert load_catalog(config).classes == ("c",)
    monkeypatch.setenv("XDG_CACHE_HOME", str(elsewhere))
    assert list(skipped_assets(config)) == ["c/bad.ply"]
    assert not elsewhere.exists()  # nothing was opened again
    (root / "c" / "worse.ply").write_bytes(b"no mesh either")
    assert list(skipped_assets(config)) == ["c/bad.ply", "c/worse.ply"]
    assert elsewhere.exists()


@pytest.mark.realdata
@pytest.mark.skipif(not (REAL / "objects").exists(), reason="needs ../shared/data")
def test_real_models_are_read(tmp_path: Path) -> None:
    found = [category for category, _ in find_models(REAL / "objects", SUFFIXES)]
    assert len(found) == 446 and len(set(found)) == 50
    for category in ("axe", "donut_cookie"):
        shutil.copytree(REAL / "objects" / category, tmp_path / category)
    scan = scan_models(tmp_path, strict=True)
    assert {name: len(models) for name, models in scan.models.items()} == {
        name: found.count(name) for name in ("axe", "donut_cookie")
    }
    assert scan.problems == {}


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")
def test_real_environment_maps_are_read() -> None:
    assert len(scan_hdris(REAL / "hdri").maps) == 6
