"""A user's 3-D file -> a normalised mesh: glTF, OBJ, PLY and STL, read by trimesh, never executed.

Runs in the throw-away process of `sim.importer`, because a hostile file may take all memory or all time. What a file
names is read only inside the asset folder.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.resolvers import Resolver

from sim import srgb
from sim.assetfolder import SUFFIXES
from sim.geometry import Solid
from sim.meshfile import FileMesh
from sim.scene import MaterialSpec
from sim.shapes import Mesh, split_creases

MAX_TRIANGLES = 500_000
MAX_FILE_BYTES = 512 << 20
MAX_TEXTURE_PIXELS = 8192 * 8192
TEXTURE_SIZE = 1024
"""Larger textures are reduced to this width: a picture of a few hundred pixels shows no more."""
GREY = (0.6, 0.6, 0.6)


class ImportRefused(ValueError):
    """A file that is not taken, with the reason."""


@dataclass(frozen=True)
class ImportedModel:
    made: FileMesh
    materials: tuple[MaterialSpec, ...]
    """The file's own materials, one per slot."""
    sha256: str
    """Of the file and of everything that it names."""
    references: dict[str, str]
    """sha256 of every file that was read besides it, by path relative to its folder."""


class FolderResolver(Resolver):
    """Reads what a 3-D file names, inside `root` only, and remembers it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder.resolve(), root.resolve()
        self.read: dict[str, str] = {}
        self.refused: list[str] = []

    def get(self, name: str) -> bytes:
        wanted = name.strip().replace("\\", "/")
        # Google Scanned Objects keep the texture that `meshes/model.mtl` names in another folder.
        for candidate in (self._folder / wanted, self._folder.parent / "materials" / "textures" / wanted):
            path = candidate.resolve()  # follows symlinks, so a link that leads outside is seen
            if not path.is_relative_to(self._root):
                self.refused.append(name)
                raise ImportRefused(f"it names {name!r}, which is outside the asset folder")
            if path.is_file():
                data = path.read_bytes()
                self.read[wanted] = hashlib.sha256(data).hexdigest()
                return data
        raise FileNotFoundError(name)

    def write(self, name: str, data: Any) -> None:
        raise NotImplementedError

    def namespaced(self, namespace: str) -> FolderResolver:
        return self

    def keys(self) -> list[str]:
        return []


def import_file(path: Path, root: Path, *, up: str) -> ImportedModel:
    """Read a model, centre it, scale its longest side to 1 m, z up.

    Args:
        root: asset folder; nothing outside it is read.
        up: "y" or "z", the axis that points up in the file.

    Raises:
        ImportRefused: with a reason that a user can act on.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ImportRefused(f"{suffix or 'no suffix'} is not one of {', '.join(SUFFIXES)}")
    if not path.resolve().is_relative_to(root.resolve()):
        raise ImportRefused("it is a link that leads outside the asset folder")
    data = path.read_bytes()
    if not 0 < len(data) <= MAX_FILE_BYTES:
        raise ImportRefused(f"it has {len(data)} bytes; allowed: 1 to {MAX_FILE_BYTES}")
    resolver = FolderResolver(path.parent, root)
    try:
        with _limited_pictures():
            parts = _read_parts(data, suffix, resolver)
    except ImportRefused:
        raise
    except Exception as error:  # trimesh raises whatever its parsers meet
        raise ImportRefused(f"it cannot be read as {suffix[1:]} ({type(error).__name__}: {error})") from None
    if resolver.refused:
        raise ImportRefused(f"it names {resolver.refused[0]!r}, which is outside the asset folder")
    made, materials = _join(parts, up)
    digest = hashlib.sha256(data)
    for name, sha in sorted(resolver.read.items()):
        digest.update(f"{name}\0{sha}".encode())
    return ImportedModel(made, materials, digest.hexdigest(), resolver.read)


def _read_parts(data: bytes, suffix: str, resolver: FolderResolver) -> list[Any]:
    scene = trimesh.load_scene(
        io.BytesIO(data), file_type=suffix[1:], resolver=resolver, process=False, allow_remote=False
    )
    return [part for part in scene.dump(concatenate=False) if isinstance(part, trimesh.Trimesh)]


@contextmanager
def _limited_pictures() -> Iterator[None]:
    """Refuse a texture by the size in its header. trimesh would go on without a texture that cannot be opened."""
    pillow: Any = Image  # the module, without its types: one function of it is wrapped for a while
    original, too_large = pillow.open, []

    def checked(*arguments: Any, **keywords: Any) -> Image.Image:
        picture: Image.Image = original(*arguments, **keywords)
        if picture.width * picture.height > MAX_TEXTURE_PIXELS:
            too_large.append(picture.size)
            raise ImportRefused("texture too large")
        return picture

    pillow.open, pillow.MAX_IMAGE_PIXELS = checked, None
    try:
        yield
    finally:
        pillow.open = original
    if too_large:
        width, height = too_large[0]
        raise ImportRefused(f"it has a texture of {width} x {height} pixels; allowed: {MAX_TEXTURE_PIXELS} in all")


def _join(parts: list[Any], up: str) -> tuple[FileMesh, tuple[MaterialSpec, ...]]:
    triangles = sum(len(part.faces) for part in parts)
    if triangles == 0:
        raise ImportRefused("it has no triangles")
    if triangles > MAX_TRIANGLES:
        raise ImportRefused(f"it has {triangles} triangles; allowed: up to {MAX_TRIANGLES}")
    corners = np.concatenate([np.asarray(part.vertices, float)[part.faces] for part in parts])  # (F, 3, 3)
    if not np.isfinite(corners).all():
        raise ImportRefused("it has vertices that are not finite numbers")
    if up == "y":
        corners = np.stack([corners[..., 0], -corners[..., 2], corners[..., 1]], axis=-1)
    low, high = corners.min((0, 1)), corners.max((0, 1))
    extent = float((high - low).max())
    if not 0 < extent < 1e12:
        raise ImportRefused(f"its longest side is {extent:g}")
    corners = (corners - (low + high) / 2) / extent

    looks: dict[object, int] = {}
    materials: list[MaterialSpec] = []
    textures: dict[int, bytes] = {}
    slots, uvs, colors = [], [], []
    for part in parts:
        look = _Look(part)
        key = look.key
        if key not in looks:
            looks[key] = len(materials)
            materials.append(look.material(f"slot{len(materials)}"))
            if look.texture is not None:
                textures[looks[key]] = look.texture
        slots.append(np.full(len(part.faces), looks[key]))
        uvs.append(look.uv)
        colors.append(look.colors)
    face_slots = np.concatenate(slots)
    uv, color = np.concatenate(uvs), np.concatenate(colors)

    keep = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) > 1e-14
    if not keep.any():
        raise ImportRefused("all of its triangles are degenerate")
    vertices, faces = _weld(corners[keep])
    solid = Solid(vertices, faces, np.ones(len(faces), bool))
    vertices, faces = split_creases(solid)
    mesh = Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        face_slots[keep].astype(np.int16),
        np.ones(len(faces), bool),
        tuple(material.name for material in materials),
    )
    with_colors = any(material.pattern == "vertex" for material in materials)
    made = FileMesh(
        mesh,
        uv[keep].astype(np.float32) if textures else None,
        color[keep].astype(np.float32) if with_colors else None,
        textures,
    )
    return made, tuple(materials)


def _weld(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join corners at the same place (to a millionth of the model's size)."""
    grid = np.round(corners.reshape(-1, 3) * 1e6).astype(np.int64)
    _, first, inverse = np.unique(grid, axis=0, return_index=True, return_inverse=True)
    return corners.reshape(-1, 3)[first], inverse.reshape(-1, 3)


class _Look:
    """Colour, texture and texture coordinates of one part of a file."""

    def __init__(self, part: Any) -> None:
        count = len(part.faces)
        self.uv = np.zeros((count, 3, 2))
        self.colors = np.ones((count, 3, 4))
        self.texture: bytes | None = None
        self.color, self.alpha, self.metallic, self.roughness, self.pattern = GREY, 1.0, 0.0, 0.6, "none"
        visual = part.visual
        material = getattr(visual, "material", None)
        if visual.kind == "texture" and material is not None:
            self._from_material(material)
            uv = getattr(visual, "uv", None)
            if self.texture is not None and uv is not None and len(uv) == len(part.vertices):
                self.uv = np.nan_to_num(np.asarray(uv, float)[part.faces])
                self.pattern = "texture"
            else:
                self.texture = None
        elif visual.kind in ("vertex", "face"):
            rgba = np.asarray(visual.vertex_colors if visual.kind == "vertex" else visual.face_colors) / 255.0
            linear = np.concatenate([srgb.decode(rgba[:, :3]), rgba[:, 3:]], axis=1)
            self.colors = linear[part.faces] if visual.kind == "vertex" else np.repeat(linear[:, None], 3, axis=1)
            self.pattern = "vertex"
        self.key = (
            self.color,
            self.alpha,
            self.metallic,
            self.roughness,
            self.pattern,
            hashlib.sha256(self.texture or b"").digest(),
        )

    def material(self, name: str) -> MaterialSpec:
        return MaterialSpec(
            name=name,
            category="file",
            base_color=self.color,
            second_color=self.color,
            pattern=self.pattern,
            pattern_scale=1.0,
            metallic=self.metallic,
            roughness=self.roughness,
            transmission=1.0 - self.alpha,
            ior=1.45,
            sheen=0.0,
            coat=0.0,
            bump=0.0,
        )

    def _from_material(self, material: Any) -> None:
        if hasattr(material, "baseColorFactor"):  # glTF: linear factors
            factor, image = material.baseColorFactor, material.baseColorTexture
            color = np.ones(4) if factor is None else np.asarray(factor, float) / 255.0
            self.metallic = 1.0 if material.metallicFactor is None else float(material.metallicFactor)
            self.roughness = 1.0 if material.roughnessFactor is None else float(material.roughnessFactor)
            if material.metallicRoughnessTexture is not None:  # the factors only scale a texture that is not read
                self.metallic, self.roughness = 0.0, 0.6
            self.alpha = float(color[3]) if material.alphaMode == "BLEND" else 1.0
        else:  # OBJ: display-referred colours
            image = getattr(material, "image", None)
            color = np.asarray(material.diffuse, float) / 255.0
            color = np.append(srgb.decode(color[:3]), color[3] if len(color) > 3 else 1.0)
            if image is not None:
                color[:3] = 1.0  # exporters often write a black or grey Kd beside a map
            self.alpha = float(color[3])
        red, green, blue = (round(float(np.clip(value, 0, 1)), 6) for value in color[:3])
        self.color = (red, green, blue)
        self.alpha = round(min(max(self.alpha, 0.0), 1.0), 6)
        self.metallic, self.roughness = (
            round(min(max(value, 0.0), 1.0), 6) for value in (self.metallic, self.roughness)
        )
        if image is not None:
            self.texture = _png(image)


def _png(image: Image.Image) -> bytes:
    picture = image.convert("RGB")
    picture.thumbnail((TEXTURE_SIZE, TEXTURE_SIZE))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
