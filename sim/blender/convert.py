"""One file into another, in a process of its own: `python -m sim.blender.convert SOURCE TARGET`.

FBX and USD become .glb, OpenEXR becomes an .npy of linear floats (H, W, 4), top row first. What an FBX or a USD file
refers to is read by Blender wherever it lies: for trusted files only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
import numpy as np


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.preferences.filepaths.use_scripts_auto_execute = False
        if source.suffix.lower() == ".exr":
            _picture_to_npy(source, target)
        else:
            _model_to_glb(source, target)
    except Exception as error:
        print(" ".join(str(error).split()), file=sys.stderr, flush=True)
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # Blender may crash on its way out after good work


def _picture_to_npy(source: Path, target: Path) -> None:
    image = bpy.data.images.load(str(source))
    width, height = image.size
    if 0 in (width, height):
        raise ValueError("no image")
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    np.save(target, pixels.reshape(height, width, 4)[::-1])


def _model_to_glb(source: Path, target: Path) -> None:
    if source.suffix.lower() == ".fbx":
        bpy.ops.preferences.addon_enable(module="io_scene_fbx")
        bpy.ops.import_scene.fbx(filepath=str(source), use_anim=False)
    else:
        bpy.ops.wm.usd_import(filepath=str(source))
    if not any(thing.type == "MESH" for thing in bpy.data.objects):
        raise ValueError("there is no mesh in it")
    bpy.ops.preferences.addon_enable(module="io_scene_gltf2")
    bpy.ops.export_scene.gltf(filepath=str(target), export_format="GLB", export_yup=True, export_animations=False)


if __name__ == "__main__":
    main()
