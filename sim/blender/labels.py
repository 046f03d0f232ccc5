"""Exact per-pixel labels: a second Blender scene that shares the objects and shoots one ray through each pixel centre.

The picture itself is sampled over the pixel's filter, out of focus and through rough glass; labels must not be. So
the label scene has one sample, a box filter of almost no width, a camera without focus, one plain material, and no
light. It is a scene of its own so that Cycles keeps both sessions; switching settings would rebuild them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from PIL import Image, ImageDraw

from sim.blender.build import Placed, SceneBuilder
from sim.blender.objects import SLOT_ATTRIBUTE, triangles_of, vertices_of
from sim.blender.room import FLOOR_INDEX, WALL_INDEX
from sim.exr import read_exr
from sim.labels import FIRST_OBJECT_CLASS, FLOOR_CLASS, WALL_CLASS
from sim.scene import SceneSpec

PART_AOV = "part"
NOWHERE = 1e9
"""Cycles writes 1e10 as the depth of what is not there."""
CANVAS_LIMIT, CANVAS_PIXELS = 4, 1024


class LabelRenderer:
    """Renders the labels of whatever the builder shows."""

    def __init__(self, builder: SceneBuilder, folder: Path, threads: int) -> None:
        self._builder = builder
        self._file = folder / "labels.exr"
        main = bpy.context.scene
        self._scene = bpy.data.scenes.new("labels")
        self._scene.world = None
        self._camera = bpy.data.objects.new("label camera", bpy.data.cameras.new("label camera"))
        self._scene.collection.objects.link(self._camera)
        self._scene.camera = self._camera
        builder.on_new_object = self._scene.collection.objects.link
        for thing in builder.objects():
            self._scene.collection.objects.link(thing)
        self._set_up_render(main, threads)
        self._set_up_passes()

    def render(self, spec: SceneSpec) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Labels of the scene that the builder shows, and a record of each object.

        Returns:
            depth float32 (H, W) in metres along the optical axis, inf where there is nothing; normal float32
            (H, W, 3) in camera axes (x right, y up, z towards the camera), 0 where there is nothing; instance uint8
            (0: no object, else number in the scene from 1); part uint8 (0: no object, else material slot + 1);
            class uint16 (see `sim.labels`).
        """
        main_camera = self._builder.camera
        self._camera.matrix_world = main_camera.matrix_world
        self._camera.data.angle = main_camera.data.angle
        self._camera.data.clip_start, self._camera.data.clip_end = 0.01, 100.0
        self._file.unlink(missing_ok=True)
        bpy.ops.render.render(write_still=True, scene=self._scene.name)
        planes = {name.split(".", 1)[1]: plane for name, plane in read_exr(self._file.read_bytes()).items()}
        labels = self._decode(planes)
        return labels, [self._describe(number, placed, labels) for number, placed in enumerate(self._builder.placed)]

    def _set_up_render(self, main: bpy.types.Scene, threads: int) -> None:
        render, cycles = self._scene.render, self._scene.cycles
        render.engine = "CYCLES"
        cycles.device = main.cycles.device
        cycles.samples = 1
        cycles.use_adaptive_sampling = False
        cycles.use_denoising = False
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
        cycles.max_bounces = 0
        render.resolution_x, render.resolution_y = main.render.resolution_x, main.render.resolution_y
        render.resolution_percentage = 100
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data = True
        render.use_compositing = render.use_sequencer = False
        render.filepath = str(self._file)
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        render.image_settings.color_depth = "32"
        render.image_settings.exr_codec = "NONE"

    def _set_up_passes(self) -> None:
        layer = self._scene.view_layers[0]
        layer.cycles.use_denoising = False
        layer.use_pass_combined = False
        layer.use_pass_z = layer.use_pass_normal = layer.use_pass_object_index = True
        part = layer.aovs.add()
        part.name, part.type = PART_AOV, "VALUE"
        material = bpy.data.materials.new("label")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        slot = nodes.new("ShaderNodeAttribute")
        slot.attribute_name = SLOT_ATTRIBUTE
        out = nodes.new("ShaderNodeOutputAOV")
        out.aov_name = PART_AOV
        links.new(slot.outputs["Fac"], out.inputs["Value"])
        layer.material_override = material

    def _decode(self, planes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        depth = planes["Depth.Z"]
        there = depth < NOWHERE
        world = np.stack([planes[f"Normal.{axis}"] for axis in "XYZ"], axis=-1)
        normal = world @ np.array(self._camera.matrix_world, np.float32)[:3, :3]
        length = np.linalg.norm(normal, axis=-1, keepdims=True)
        index = np.where(there, np.rint(planes["IndexOB.X"]), 0).astype(int)
        is_object = there & (index < FLOOR_INDEX) & (index > 0)
        classes = np.zeros(index.shape, np.uint16)
        classes[there & (index == FLOOR_INDEX)] = FLOOR_CLASS
        classes[there & (index == WALL_INDEX)] = WALL_CLASS
        for number, placed in enumerate(self._builder.placed):
            classes[is_object & (index == number + 1)] = FIRST_OBJECT_CLASS + placed.class_id
        return {
            "depth": np.where(there, depth, np.inf).astype(np.float32),
            "normal": np.where(there[..., None], normal / np.maximum(length, 1e-9), 0).astype(np.float32),
            "instance": np.where(is_object, index, 0).astype(np.uint8),
            "part": np.where(is_object, np.rint(planes[f"{PART_AOV}.X"]) + 1, 0).astype(np.uint8),
            "class": classes,
        }

    def _describe(self, number: int, placed: Placed, labels: dict[str, np.ndarray]) -> dict[str, Any]:
        """Pose, boxes and visibility of one object."""
        world_to_camera = np.linalg.inv(np.array(self._camera.matrix_world, float))
        pose = world_to_camera @ placed.pose
        vertices = vertices_of(placed.mesh).astype(float)
        low, high = vertices.min(0), vertices.max(0)
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        mask = labels["instance"] == number + 1
        rows, columns = np.nonzero(mask)
        visible = (
            [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1] if len(rows) else None
        )
        pixels, in_front = self._project(vertices @ pose[:3, :3].T + pose[:3, 3])
        whole = None
        if in_front.all():
            whole = [*np.round(pixels.min(0), 3).tolist(), *np.round(pixels.max(0), 3).tolist()]
        silhouette = _silhouette_area(pixels, in_front, triangles_of(placed.mesh), mask.shape[0])
        return {
            "instance": number + 1,
            "class_id": placed.class_id,
            "object_to_camera": np.round(pose, 6).tolist(),
            "box_3d_m": np.round(corners @ pose[:3, :3].T + pose[:3, 3], 5).tolist(),
            "box_2d": whole,
            "visible_box_2d": visible,
            "visible_pixels": int(mask.sum()),
            "visibility": round(min(1.0, float(mask.sum()) / silhouette), 4) if silhouette else 0.0,
        }

    def _project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Camera coordinates (N, 3) -> pixel coordinates (N, 2), origin at the upper left corner of the picture."""
        size = self._scene.render.resolution_x
        focal = focal_px(self._camera.data.angle, size)
        distance = -points[:, 2]
        in_front = distance > 1e-3
        safe = np.where(in_front, distance, 1.0)
        x = size / 2 + focal * points[:, 0] / safe
        y = size / 2 - focal * points[:, 1] / safe
        return np.stack([x, y], axis=1), in_front


def focal_px(field_of_view_rad: float, size: int) -> float:
    """Focal length of the pinhole model in pixels."""
    return float(size / 2 / np.tan(field_of_view_rad / 2))


def _silhouette_area(pixels: np.ndarray, in_front: np.ndarray, triangles: np.ndarray, size: int) -> float:
    """Pixels that the whole object would cover with nothing before it, also beyond the picture's edge.

    Drawn on a canvas of up to `CANVAS_LIMIT` picture widths; what lies farther outside is not counted.
    """
    scale = max(1, CANVAS_PIXELS // (size * CANVAS_LIMIT))  # finer than pixels, because a drawn border is a pixel wide
    margin = size * (CANVAS_LIMIT - 1) / 2
    canvas = Image.new("1", (size * CANVAS_LIMIT * scale, size * CANVAS_LIMIT * scale))
    draw = ImageDraw.Draw(canvas)
    for triangle in triangles[in_front[triangles].all(axis=1)]:
        draw.polygon([tuple(point) for point in (pixels[triangle] + margin) * scale - 0.5], fill=1)
    return float(np.asarray(canvas).sum()) / scale**2
