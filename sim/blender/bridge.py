"""BlenderProc 2.8 on the `bpy` wheel: one call turns this process into an initialised Cycles session.

The released BlenderProc runs only inside a Blender that it downloaded itself: its `__init__` refuses
anything else and has no switch for an external `bpy`. So the package object is registered here without
running that `__init__`, its modules are imported, and the steps of `blenderproc.init()` are made by
hand, except the language setting, which raises in the wheel.

bpy and BlenderProc are GPL-3.0: only files of this folder import them, and they run in a child process.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types

from sim.wire import Device, RenderSettings

DEBIAN_PACKAGES = "libx11-6 libxrender1 libxxf86vm1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libgomp1"

INSTALL_RENDER = "pip install -c constraints.txt -e '.[render]'"
"""Without the constraints pip takes newer versions, which do not work together."""


class BlenderUnavailable(RuntimeError):
    """Blender cannot run here; the message is one line that says what to install or ask for."""


def start_blender(settings: RenderSettings, *, threads: int, device: Device) -> None:
    """Import bpy and BlenderProc and set up an empty Cycles scene.

    Raises:
        BlenderUnavailable: a wheel or a system library is missing, or the requested GPU is not there.
    """
    _import_packages()
    import bpy
    from blenderproc.python.renderer import RendererUtility
    from blenderproc.python.utility.Initializer import _Initializer, clean_up

    # A user's saved preferences must not change pixels, and a loaded file must never run scripts.
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    bpy.ops.preferences.addon_enable(module="cycles")
    clean_up(clean_up_camera=True)
    bpy.context.scene.render.engine = "CYCLES"
    _Initializer.set_default_parameters()
    _select_device(device)
    RendererUtility.set_cpu_threads(threads)
    RendererUtility.set_denoiser(None)
    RendererUtility.set_max_amount_of_samples(settings.samples)
    # Adaptive sampling is meant for hundreds of samples; at 4 to 64 its bookkeeping only costs.
    RendererUtility.set_noise_threshold(0)
    RendererUtility.toggle_light_tree(settings.light_tree)
    RendererUtility.set_simplify_subdivision_render(0)
    RendererUtility.set_light_bounces(
        diffuse_bounces=settings.diffuse_bounces,
        glossy_bounces=settings.glossy_bounces,
        ao_bounces_render=0,
        max_bounces=settings.max_bounces,
        transmission_bounces=settings.transmission_bounces,
        transparent_max_bounces=8,
        volume_bounces=0,
    )
    scene = bpy.context.scene
    scene.cycles.sample_clamp_indirect = settings.clamp_indirect
    scene.cycles.caustics_reflective = False
    scene.cycles.caustics_refractive = False
    scene.render.resolution_x = scene.render.resolution_y = settings.size
    # Filmic and AgX compress contrast and saturation; plain sRGB keeps the colours of the materials.
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.render.dither_intensity = 0.0  # noise of one grey level that only makes files larger
    # Keeps meshes, shaders and the environment in Cycles between images: 8 ms instead of 17 ms per image
    # at 64 px.
    scene.render.use_persistent_data = True
    scene.use_nodes = False
    scene.render.use_compositing = False
    scene.render.use_sequencer = False


def _import_packages() -> None:
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # what BlenderProc's own __init__ sets before importing OpenCV
    try:
        importlib.import_module("bpy")
    except ModuleNotFoundError as error:
        raise BlenderUnavailable(
            f"Blender's Python module {error.name!r} is missing; on Python 3.11: {INSTALL_RENDER}"
        ) from error
    except ImportError as error:  # the wheel is there but the dynamic loader lacks a library
        library = str(error).split(":", 1)[0]
        raise BlenderUnavailable(
            f"Blender needs the system library {library}; on Debian: apt-get install {DEBIAN_PACKAGES}"
        ) from error
    if "blenderproc" not in sys.modules:
        found = importlib.util.find_spec("blenderproc")
        if found is None or found.submodule_search_locations is None:
            raise BlenderUnavailable(f"BlenderProc is missing: {INSTALL_RENDER}")
        package = types.ModuleType("blenderproc")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["blenderproc"] = package
    try:
        for name in ("types", "object", "material", "camera", "lighting", "world", "renderer"):
            importlib.import_module(f"blenderproc.api.{name}")
    except ModuleNotFoundError as error:
        raise BlenderUnavailable(f"BlenderProc needs the module {error.name!r}: {INSTALL_RENDER}") from error


def _select_device(device: Device) -> None:
    """BlenderProc falls back to the CPU without a word and mixes CPU and GPUs; neither is wanted here."""
    import bpy
    from blenderproc.python.renderer import RendererUtility

    if device == "cpu":
        RendererUtility.set_render_devices(use_only_cpu=True)
        return
    kind = device.upper()
    preferences = bpy.context.preferences.addons["cycles"].preferences
    entries = preferences.get_devices_for_type(kind)
    if not any(entry.type == kind for entry in entries):
        raise BlenderUnavailable(f"device {device!r} was asked for, but Blender finds no {kind} device here")
    preferences.compute_device_type = kind
    for entry in entries:
        entry.use = entry.type == kind
    bpy.context.scene.cycles.device = "GPU"
