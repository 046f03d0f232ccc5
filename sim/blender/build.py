"""SceneSpec -> Blender scene -> pixels. Runs inside the Blender child only.

The scene is made once (one object, one sun, one camera, one environment) and changed from image to
image. The environment never turns: Cycles would rebuild its importance map, so everything else turns the
other way, which is the same picture. Only another HDRI costs a new map (about 7 ms at 64 px), so the
parent sends scenes grouped by HDRI.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import blenderproc.python.camera.CameraUtility as camera_api
import bpy
import numpy as np
from blenderproc.python.types.LightUtility import Light
from blenderproc.python.types.MeshObjectUtility import create_with_empty_mesh
from mathutils import Euler, Matrix, Vector

from sim.blender.patterns import COLOR_LAYER, UV_LAYER, Surface
from sim.scene import SceneSpec

if TYPE_CHECKING:
    from sim.meshfile import FileMesh

MESHES_KEPT = 256
HDRIS_KEPT = 16
BMP_HEADER = 54


class SceneBuilder:
    """Holds the one scene of this process; `show` changes it, `render` returns the picture.

    Args:
        load_mesh: model id -> mesh; called when a model is not among the last `MESHES_KEPT`.
        hdri_path: HDRI name -> file.
        folder: where Blender may write the picture, best in memory.
        importance_map: width of the environment's importance map, pixels.
    """

    def __init__(
        self,
        load_mesh: Callable[[str], FileMesh],
        hdri_path: Callable[[str], Path],
        folder: Path,
        *,
        importance_map: int,
    ) -> None:
        self._load_mesh = load_mesh
        self._hdri_path = hdri_path
        self._meshes: OrderedDict[str, bpy.types.Mesh] = OrderedDict()
        self._hdris: OrderedDict[str, bpy.types.Image] = OrderedDict()
        self._textures: dict[tuple[str, int], bpy.types.Image] = {}
        self._surfaces: dict[tuple[int, str], Surface] = {}
        self._object = create_with_empty_mesh("object")
        self._sun = Light("SUN", "sun")
        self._sun.blender_obj.data.angle = math.radians(2.0)  # a slightly hazy sun: shadows with soft edges
        self._camera = bpy.context.scene.camera
        self._environment, self._world_strength = _environment_nodes(importance_map)
        render = bpy.context.scene.render
        # The quickest way out of Blender: an uncompressed file in memory costs 0.5 ms at 64 px.
        self._file = folder / "image.bmp"
        render.filepath = str(self._file)
        render.image_settings.file_format = "BMP"
        render.image_settings.color_mode = "RGB"

    def show(self, spec: SceneSpec) -> None:
        """Make the Blender scene equal to `spec`."""
        turn = Euler([math.radians(angle) for angle in spec.hdri_rotation_deg], "XYZ").to_matrix().inverted()
        self._show_object(spec, turn)
        self._show_light(spec, turn)
        self._show_camera(spec, turn)
        self._environment.image = self._hdri(spec.hdri)
        self._world_strength.default_value = spec.hdri_strength
        # Another noise pattern per image: a network must not find the same grain in every picture.
        bpy.context.scene.cycles.seed = spec.index % 2**31

    def render(self) -> np.ndarray:
        """Render the scene; uint8 (H, W, 3), sRGB.

        Raises:
            RuntimeError: Blender could not render or write the image.
        """
        self._file.unlink(missing_ok=True)  # a failed write must not leave the previous picture to be read
        bpy.ops.render.render(write_still=True)
        render = bpy.context.scene.render
        height, width = render.resolution_y, render.resolution_x
        raw = self._file.read_bytes()
        row = (width * 3 + 3) // 4 * 4  # BMP rows are padded to four bytes and run from the bottom up
        if len(raw) != BMP_HEADER + row * height:
            raise RuntimeError(f"Blender wrote {len(raw)} bytes instead of {BMP_HEADER + row * height}")
        pixels = np.frombuffer(raw, np.uint8, offset=BMP_HEADER).reshape(height, row)[:, : width * 3]
        return np.ascontiguousarray(pixels.reshape(height, width, 3)[::-1, :, ::-1])

    def _show_object(self, spec: SceneSpec, turn: Matrix) -> None:
        mesh = self._mesh(spec.model)
        if len(mesh.materials) != len(spec.materials):
            raise ValueError(f"model {spec.model} has {len(mesh.materials)} material slots, not {len(spec.materials)}")
        for slot, material in enumerate(spec.materials):
            surface = self._surface(slot, material.pattern)
            surface.show(material, self._textures.get((spec.model, slot)))
            if mesh.materials[slot] != surface.blender:
                mesh.materials[slot] = surface.blender
        if self._object.blender_obj.data != mesh:
            self._object.blender_obj.data = mesh
        pose = turn @ Euler([math.radians(angle) for angle in spec.object_rotation_deg], "XYZ").to_matrix()
        self._object.set_local2world_mat(pose.to_4x4())

    def _show_light(self, spec: SceneSpec, turn: Matrix) -> None:
        self._sun.set_energy(spec.light_strength)
        self._sun.set_color(spec.light_color)
        direction = turn @ Vector(spec.light_direction)
        self._sun.set_local2world_mat(direction.to_track_quat("-Z", "Y").to_matrix().to_4x4())

    def _show_camera(self, spec: SceneSpec, turn: Matrix) -> None:
        position = Vector(spec.camera_position_m)
        upright = (-position).to_track_quat("-Z", "Y").to_matrix().to_4x4()
        self._camera.matrix_world = turn.to_4x4() @ Matrix.Translation(position) @ upright
        camera_api.set_intrinsics_from_blender_params(
            lens=math.radians(spec.field_of_view_deg), lens_unit="FOV", clip_start=0.01, clip_end=100.0
        )
        focus = self._camera.data.dof
        focus.use_dof = spec.focus_distance_m is not None
        if spec.focus_distance_m is not None and spec.aperture_fstop is not None:
            focus.focus_distance = spec.focus_distance_m
            focus.aperture_fstop = spec.aperture_fstop

    def _surface(self, slot: int, pattern: str) -> Surface:
        key = (slot, pattern)
        if key not in self._surfaces:
            self._surfaces[key] = Surface(f"slot{slot}-{pattern}", pattern)
        return self._surfaces[key]

    def _mesh(self, model: str) -> bpy.types.Mesh:
        if model in self._meshes:
            self._meshes.move_to_end(model)
            return self._meshes[model]
        source = self._load_mesh(model)
        self._meshes[model] = blender_mesh(model, source)
        for slot, data in source.textures.items():
            self._textures[model, slot] = blender_texture(f"{model}:{slot}", data)
        if len(self._meshes) > MESHES_KEPT:
            self._forget_oldest_mesh(self._meshes[model])
        return self._meshes[model]

    def _forget_oldest_mesh(self, current: bpy.types.Mesh) -> None:
        name, oldest = self._meshes.popitem(last=False)
        if self._object.blender_obj.data == oldest:
            self._object.blender_obj.data = current
        bpy.data.meshes.remove(oldest)
        for key in [key for key in self._textures if key[0] == name]:
            bpy.data.images.remove(self._textures.pop(key))

    def _hdri(self, name: str) -> bpy.types.Image:
        if name in self._hdris:
            self._hdris.move_to_end(name)
            return self._hdris[name]
        path = self._hdri_path(name)
        try:
            image = bpy.data.images.load(str(path))
        except RuntimeError as error:
            raise ValueError(f"HDRI {name} cannot be read: {path}") from error
        if 0 in image.size:
            raise ValueError(f"HDRI {name} is not an image: {path}")
        self._hdris[name] = image
        if len(self._hdris) > HDRIS_KEPT:
            _, oldest = self._hdris.popitem(last=False)
            bpy.data.images.remove(oldest)
        return image


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
    made.update(calc_edges=True)
    return made


def blender_texture(name: str, data: bytes) -> bpy.types.Image:
    """A PNG in memory as a Blender image."""
    image = bpy.data.images.new(name, 1, 1)
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    return image


def _environment_nodes(
    importance_map: int,
) -> tuple[bpy.types.ShaderNodeTexEnvironment, bpy.types.NodeSocket]:
    """Environment texture -> background of the world; returns the texture node and the strength socket."""
    world = bpy.context.scene.world
    world.use_nodes = True
    # An automatic map has the HDRI's size and takes a second per image. It must be set before the first
    # render: a session with persistent data ignores a later change.
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = importance_map
    tree = world.node_tree
    background = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeBackground")
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])
    return texture, background.inputs["Strength"]
