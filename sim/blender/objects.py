"""Meshes, textures and objects inside Blender: made once, kept, and changed from image to image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np
from blenderproc.python.types.MeshObjectUtility import create_with_empty_mesh
from mathutils import Matrix

from sim.blender.patterns import COLOR_LAYER, MAPS_PATTERN, UV_LAYER, Surface
from sim.scene import MaterialSpec
from sim.textures import read_textures

if TYPE_CHECKING:
    from sim.meshfile import FileMesh

MESHES_KEPT = 256
TEXTURES_KEPT = 64
"""About 6 MB each at 512 pixels, and as much again in Cycles."""
SLOT_ATTRIBUTE = "slot"
"""Number of the material slot at every face, for part labels."""


class MeshStore:
    """The last `MESHES_KEPT` models as Blender meshes, with their textures.

    Args:
        load_mesh: model id -> mesh; called when a model is not there.
    """

    def __init__(self, load_mesh: Callable[[str], FileMesh]) -> None:
        self._load = load_mesh
        self._meshes: OrderedDict[str, bpy.types.Mesh] = OrderedDict()
        self._textures: dict[tuple[str, int], bpy.types.Image] = {}

    def mesh(self, model: str) -> bpy.types.Mesh:
        if model in self._meshes:
            self._meshes.move_to_end(model)
            return self._meshes[model]
        source = self._load(model)
        self._meshes[model] = blender_mesh(model, source)
        for slot, data in source.textures.items():
            self._textures[model, slot] = blender_texture(f"{model}:{slot}", data)
        if len(self._meshes) > MESHES_KEPT:  # far more than one scene shows, so no object has the oldest
            name, oldest = self._meshes.popitem(last=False)
            bpy.data.meshes.remove(oldest)
            for key in [key for key in self._textures if key[0] == name]:
                bpy.data.images.remove(self._textures.pop(key))
        return self._meshes[model]

    def texture(self, model: str, slot: int) -> bpy.types.Image | None:
        return self._textures.get((model, slot))


class TextureStore:
    """Texture sets of the catalogue as Blender images; those of the current picture and the last `TEXTURES_KEPT`.

    Args:
        path_of: name of a material -> its maps, as `sim.textures` writes them.
    """

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        self._path_of = path_of
        self._sets: OrderedDict[str, dict[str, bpy.types.Image]] = OrderedDict()

    def maps(self, material: MaterialSpec) -> dict[str, bpy.types.Image] | None:
        """Images by name: color, surface, height; None for a material without."""
        if material.pattern != MAPS_PATTERN:
            return None
        name = material.name
        if name not in self._sets:
            self._sets[name] = {
                role: blender_texture(f"{name}:{role}", data, is_color=role == "color")
                for role, data in read_textures(self._path_of(name)).items()
            }
        self._sets.move_to_end(name)
        return self._sets[name]

    def trim(self) -> None:
        """Let go of what was not used for long; to be called between pictures, when all of a scene may go."""
        while len(self._sets) > TEXTURES_KEPT:
            _, oldest = self._sets.popitem(last=False)
            for image in oldest.values():
                bpy.data.images.remove(image)


class Stand:
    """One Blender object that takes another mesh, pose and materials for every image.

    Materials hang on the object, not on the mesh: two objects may show one model in different materials. Surfaces
    are kept by slot and pattern, so the number of shaders in Cycles stays small.
    """

    def __init__(self, number: int, store: MeshStore, textures: TextureStore) -> None:
        self._store, self._textures = store, textures
        self._number = number
        self._object = create_with_empty_mesh(f"object{number}")
        self.blender = self._object.blender_obj
        self.blender.pass_index = number + 1
        self._empty = self.blender.data
        self._surfaces: dict[tuple[int, str], Surface] = {}

    def show(self, model: str, materials: Sequence[MaterialSpec], pose: Matrix) -> None:
        """Raises ValueError when the model has another number of material slots."""
        mesh = self._store.mesh(model)
        if len(mesh.materials) != len(materials):
            raise ValueError(f"model {model} has {len(mesh.materials)} material slots, not {len(materials)}")
        if self.blender.data != mesh:
            self.blender.data = mesh
        for slot, material in enumerate(materials):
            surface = self._surface(slot, material.pattern)
            surface.show(material, self._textures.maps(material) or self._store.texture(model, slot))
            place = self.blender.material_slots[slot]
            if place.link != "OBJECT":
                place.link = "OBJECT"
            if place.material != surface.blender:
                place.material = surface.blender
        self._object.set_local2world_mat(pose)

    def hide(self) -> None:
        if self.blender.data != self._empty:
            self.blender.data = self._empty

    def _surface(self, slot: int, pattern: str) -> Surface:
        key = (slot, pattern)
        if key not in self._surfaces:
            self._surfaces[key] = Surface(f"object{self._number}-slot{slot}-{pattern}", pattern)
        return self._surfaces[key]


def vertices_of(mesh: bpy.types.Mesh) -> np.ndarray:
    """(V, 3) in the model's own coordinates."""
    flat = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def triangles_of(mesh: bpy.types.Mesh) -> np.ndarray:
    """(F, 3) vertex numbers."""
    flat = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", flat)
    return flat.reshape(-1, 3)


def blender_mesh(name: str, source: FileMesh) -> bpy.types.Mesh:
    """Copy a mesh into Blender with one empty material slot per slot number."""
    mesh = source.mesh
    faces = np.asarray(mesh.faces, np.int32)
    count = len(faces)
    made = bpy.data.meshes.new(name)
    made.vertices.add(len(mesh.vertices))
    made.vertices.foreach_set("co", np.ascontiguousarray(mesh.vertices, np.float32).ravel())
    made.loops.add(count * 3)
    made.loops.foreach_set("vertex_index", faces.ravel())
    made.polygons.add(count)
    made.polygons.foreach_set("loop_start", np.arange(0, count * 3, 3, dtype=np.int32))
    made.polygons.foreach_set("material_index", np.ascontiguousarray(mesh.face_slots, np.int32))
    made.polygons.foreach_set("use_smooth", np.ascontiguousarray(mesh.face_smooth, bool))
    for _ in mesh.slots:
        made.materials.append(None)
    if source.uv is not None:
        layer = made.uv_layers.new(name=UV_LAYER)
        layer.uv.foreach_set("vector", np.ascontiguousarray(source.uv, np.float32).ravel())
    if source.colors is not None:
        attribute = made.color_attributes.new(COLOR_LAYER, "FLOAT_COLOR", "CORNER")
        attribute.data.foreach_set("color", np.ascontiguousarray(source.colors, np.float32).ravel())
    slots = made.attributes.new(SLOT_ATTRIBUTE, "FLOAT", "FACE")
    slots.data.foreach_set("value", np.ascontiguousarray(mesh.face_slots, np.float32))
    made.update(calc_edges=True)
    return made


def blender_texture(name: str, data: bytes, *, is_color: bool = True) -> bpy.types.Image:
    """A PNG in memory as a Blender image; numbers that are no colours are taken as they are."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    if not is_color:
        image.colorspace_settings.name = "Non-Color"
    return image
