"""The world around a scene: an HDRI that the camera sees as it is and that lights the object low-pass filtered.

A sun of a few pixels and 10,000 times the brightness of the sky falls into one cell of the importance map, which says
nothing about where in the cell it is: most samples miss it and few find it, as isolated white pixels that hundreds of
samples per pixel do not remove. So every ray but the camera's meets the HDRI averaged over the cells of the map: the
same energy, a sun as wide as a cell (1.4 degrees at 256 cells), and a map that is exact.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

from sim.lowpass import block_means

KEPT = 16


class Environment:
    """The one world of this process.

    Args:
        path_of: HDRI name -> file.
        importance_map: width in pixels of Cycles' importance map and of the lighting.
    """

    def __init__(self, path_of: Callable[[str], Path], *, importance_map: int) -> None:
        self._path_of = path_of
        self._width = importance_map
        self._images: OrderedDict[str, tuple[bpy.types.Image, bpy.types.Image]] = OrderedDict()
        world = bpy.context.scene.world
        world.use_nodes = True
        # An automatic map has the HDRI's size and takes a second per image. It must be set before the first
        # render: a session with persistent data ignores a later change.
        world.cycles.sampling_method = "MANUAL"
        world.cycles.sample_map_resolution = importance_map
        tree = world.node_tree
        background = next(node for node in tree.nodes if node.bl_idname == "ShaderNodeBackground")
        self._seen = tree.nodes.new("ShaderNodeTexEnvironment")
        self._light = tree.nodes.new("ShaderNodeTexEnvironment")
        rays = tree.nodes.new("ShaderNodeLightPath")
        mix = tree.nodes.new("ShaderNodeMixRGB")
        tree.links.new(rays.outputs["Is Camera Ray"], mix.inputs["Fac"])
        tree.links.new(self._light.outputs["Color"], mix.inputs["Color1"])
        tree.links.new(self._seen.outputs["Color"], mix.inputs["Color2"])
        tree.links.new(mix.outputs["Color"], background.inputs["Color"])
        self._strength = background.inputs["Strength"]

    def show(self, name: str, strength: float) -> None:
        """Raises ValueError for a file that is no image."""
        self._seen.image, self._light.image = self._load(name)
        self._strength.default_value = strength

    def _load(self, name: str) -> tuple[bpy.types.Image, bpy.types.Image]:
        if name in self._images:
            self._images.move_to_end(name)
            return self._images[name]
        path = self._path_of(name)
        try:
            image = bpy.data.images.load(str(path))
        except RuntimeError as error:
            raise ValueError(f"HDRI {name} cannot be read: {path}") from error
        if 0 in image.size:
            raise ValueError(f"HDRI {name} is not an image: {path}")
        self._images[name] = image, low_passed(image, self._width)
        if len(self._images) > KEPT:
            _, oldest = self._images.popitem(last=False)
            for old in oldest:
                bpy.data.images.remove(old)
        return self._images[name]


def low_passed(image: bpy.types.Image, width: int) -> bpy.types.Image:
    """A float image of at most `width` x `width` / 2 pixels, each the mean of the pixels that it covers."""
    full_width, full_height = image.size
    pixels = np.empty(full_width * full_height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    columns, rows = min(width, full_width), min(max(1, width // 2), full_height)
    means = block_means(pixels.reshape(full_height, full_width, 4), rows, columns)
    light = bpy.data.images.new(f"{image.name} light", columns, rows, float_buffer=True)
    light.pixels.foreach_set(means.ravel())
    return light
