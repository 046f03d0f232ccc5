"""How a picture leaves Cycles: straight, or through Open Image Denoise. Runs inside the Blender child only."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import bpy
import numpy as np

from sim.blender.bridge import INSTALL_RENDER, BlenderUnavailable
from sim.exr import read_exr
from sim.srgb import to_srgb
from sim.wire import RenderSettings

BMP_HEADER = 54
LAYER = "ViewLayer"
PASSES = {"color": ("Combined", "RGB"), "albedo": ("Denoising Albedo", "RGB"), "normal": ("Denoising Normal", "XYZ")}


class PlainFilm:
    """The picture as Blender makes it: an uncompressed file in memory costs 0.5 ms at 64 px.

    Args:
        folder: where Blender may write the picture, best in memory.
    """

    programs: tuple[str, ...] = ()
    """What makes the pixels beside Blender, for a data set's record of its renderer."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "image.bmp"
        render = bpy.context.scene.render
        render.filepath = str(self._file)
        render.image_settings.file_format = "BMP"
        render.image_settings.color_mode = "RGB"

    def expose(self) -> np.ndarray:
        """Render the scene; uint8 (H, W, 3), sRGB.

        Raises:
            RuntimeError: Blender could not render or write the image.
        """
        raw = _render_to(self._file)
        render = bpy.context.scene.render
        height, width = render.resolution_y, render.resolution_x
        row = (width * 3 + 3) // 4 * 4  # BMP rows are padded to four bytes and run from the bottom up
        if len(raw) != BMP_HEADER + row * height:
            raise RuntimeError(f"Blender wrote {len(raw)} bytes instead of {BMP_HEADER + row * height}")
        pixels = np.frombuffer(raw, np.uint8, offset=BMP_HEADER).reshape(height, row)[:, : width * 3]
        return np.ascontiguousarray(pixels.reshape(height, width, 3)[::-1, :, ::-1])


class DenoisedFilm:
    """The picture after Open Image Denoise, kept alive from image to image.

    Cycles can call the same library, but sets it up anew for every image. Here device, filter and buffers are made
    once. Cycles hands over its noisy radiance and the albedo and normals of the first hits, which tell edges and
    textures from noise; what comes back goes through the sRGB curve, as in Blender's "Standard" view.

    Args:
        folder: where Blender may write its passes, best in memory.
        size: width and height in pixels.
        threads: of the denoiser.

    Raises:
        BlenderUnavailable: the denoiser is not installed.
        RuntimeError: it does not run on this processor.
    """

    def __init__(self, folder: Path, size: int, threads: int) -> None:
        self._file = folder / "image.exr"
        scene, layer = bpy.context.scene, bpy.context.view_layer
        layer.name = LAYER
        layer.cycles.denoising_store_passes = True
        scene.render.filepath = str(self._file)
        scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        scene.render.image_settings.color_depth = "32"
        scene.render.image_settings.exr_codec = "NONE"
        oidn = _import_pyoidn()
        self.programs = (f"pyoidn {importlib.metadata.version('pyoidn')}",)
        self._device = oidn.Device()
        self._device.set_int("numThreads", threads)
        self._device.set_bool("setAffinity", False)  # several Blender processes may share the cores
        self._device.commit()
        self._filter = oidn.Filter(self._device)
        self._planes = {name: np.zeros((size, size, 3), np.float32) for name in (*PASSES, "output")}
        for name, plane in self._planes.items():
            self._filter.set_image(name, plane, oidn.OIDN_FORMAT_FLOAT3)
        self._filter.set_bool("hdr", True)
        self._filter.set_quality(oidn.OIDN_QUALITY_FAST)
        self._filter.commit()
        self._check()

    def expose(self) -> np.ndarray:
        """Render the scene; uint8 (H, W, 3), sRGB.

        Raises:
            RuntimeError: Blender could not render or write its passes, or the denoiser failed.
        """
        found = read_exr(_render_to(self._file))
        for name, (render_pass, axes) in PASSES.items():
            for number, axis in enumerate(axes):
                self._planes[name][..., number] = found[f"{LAYER}.{render_pass}.{axis}"]
        self._filter.execute()
        self._check()
        return to_srgb(self._planes["output"])

    def _check(self) -> None:
        if (message := self._device.get_error()) is not None:
            raise RuntimeError(f"Open Image Denoise: {message}")


def open_film(settings: RenderSettings, folder: Path, *, threads: int) -> PlainFilm | DenoisedFilm:
    """What the settings' denoiser asks for."""
    if settings.denoiser == "oidn":
        return DenoisedFilm(folder, settings.size, threads)
    return PlainFilm(folder)


def _render_to(file: Path) -> bytes:
    file.unlink(missing_ok=True)  # a failed write must not leave the previous picture to be read
    bpy.ops.render.render(write_still=True)
    return file.read_bytes()


def _import_pyoidn() -> ModuleType:
    """The package, without PyTorch, which it would import: seconds and memory that a Blender process has no use for."""
    blocked = "torch" not in sys.modules
    if blocked:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("pyoidn")
    except ModuleNotFoundError as error:
        raise BlenderUnavailable(
            f"Open Image Denoise's Python module {error.name!r} is missing: {INSTALL_RENDER}; or render with the "
            "denoiser none and more samples"
        ) from error
    finally:
        if blocked:
            del sys.modules["torch"]
