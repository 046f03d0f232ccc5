"""Picture quality against cost: PSNR of Cycles settings over fixed scenes, and the images per second they allow.

    python benchmarks/render_quality.py --out DIR                    # 50 scenes at 224 px; hours on 2 cores
    python benchmarks/render_quality.py --out DIR --scenes 6 --size 96 --reference-samples 256    # a first look

The scenes are image 0 to 49 of seed 2022 of the default catalogue with every parameter on. The reference has at least
1,024 samples, no clamping and 12 bounces (8 glossy, 12 transmission). PSNR is on 8-bit sRGB before encoding, per
image, then averaged. Cost is the CPU time of the Blender process per image, so other work on the machine does not
count; it is measured in one thread. Results go to DIR/quality.csv after every row; the reference is kept in DIR and
used again. At the end: the fastest of ours against the fastest script, both among those of at least 32 dB.

`script` is a plain BlenderProc loop over the same objects, lights, cameras and environments, as its documentation
writes it: its defaults, `set_world_background_hdr_img` and `renderer.render()` for each scene.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from sim.assets import CatalogConfig
from sim.params import TASK2SIM_SPACE, SimParams, all_on
from sim.render import model_source
from sim.scene import SceneSpec
from sim.shards import RenderConfig, catalog_of
from sim.wire import RenderSettings, spec_from_json, spec_to_json

SEED = 2022
SCRIPT = "script"
WANTED_DB = 32.0
"""Mean PSNR that the default preset is to reach at 224 px."""
PLAIN = {"samples": 16, "denoiser": "none"}
DENOISED = {"samples": 2, "denoiser": "oidn"}
CHANGES: dict[str, dict[str, Any]] = {
    "no light tree": {"light_tree": False},
    "clamp 3": {"clamp_indirect": 3.0},
    "no clamp": {"clamp_indirect": 0.0},
    "map 128": {"importance_map": 128},
    "map 512": {"importance_map": 512},
    "4 bounces": {"max_bounces": 4, "transmission_bounces": 4},
}
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"samples {n}": PLAIN | {"samples": n} for n in (4, 8, 16, 24, 32, 64)},
    **{f"oidn {n}": DENOISED | {"samples": n} for n in (1, 2, 3, 4, 6, 8, 16)},
    **{f"samples 16 {name}": PLAIN | change for name, change in CHANGES.items()},
    **{f"oidn 2 {name}": DENOISED | change for name, change in CHANGES.items()},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--reference-samples", type=int, default=1024)
    parser.add_argument("--only", help="comma-separated names of variants")
    parser.add_argument(
        "--script-samples", default="8,16,32", help="comma-separated samples of the plain BlenderProc loop; 0: skip it"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _serve(json.loads(sys.stdin.readline()), script=arguments.child == "script")
        return
    chosen = arguments.only.split(",") if arguments.only else list(VARIANTS)
    if unknown := [name for name in chosen if name not in VARIANTS]:
        parser.error(f"--only names {unknown[0]!r}; allowed: {', '.join(VARIANTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    specs = _scenes(arguments.scenes)
    reference = RenderSettings(
        size=arguments.size,
        samples=arguments.reference_samples,
        denoiser="none",
        clamp_indirect=0.0,
        max_bounces=12,
        diffuse_bounces=8,
        glossy_bounces=8,
        transmission_bounces=12,
    )
    truth = arguments.out / f"reference-{arguments.size}-{arguments.reference_samples}-{arguments.scenes}.npy"
    if not truth.exists():
        _run(reference, specs, truth)
    size, place = arguments.size, arguments.out / "variant.npy"
    rows: list[dict[str, Any]] = []
    for name in chosen:
        settings = dataclasses.replace(RenderSettings(size=size), **VARIANTS[name])
        rows.append({"name": name} | _compare(settings, specs, truth, place, script=False))
        _note(rows, arguments.out)
    for samples in filter(None, map(int, arguments.script_samples.split(","))):
        settings = RenderSettings(size=size, samples=samples, denoiser="none")
        rows.append({"name": f"{SCRIPT} {samples}"} | _compare(settings, specs, truth, place, script=True))
        _note(rows, arguments.out)
    for line in _ratio(rows):
        print(line)


def _note(rows: list[dict[str, Any]], out: Path) -> None:
    """Print the last row, and write all of them: what was measured stays when the run is ended."""
    print(rows[-1], flush=True)
    with (out / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _ratio(rows: list[dict[str, Any]]) -> list[str]:
    """The fastest of ours and the fastest script among those that reach the wanted quality, and how they compare."""
    good = [row for row in rows if row["psnr_db"] >= WANTED_DB]
    best = {}
    for side, is_script in (("ours", False), (SCRIPT, True)):
        side_rows = [row for row in good if row["name"].startswith(SCRIPT) == is_script]
        if not side_rows:
            return [f"{side}, at {WANTED_DB:g} dB: no row reaches it, so there is no ratio"]
        best[side] = max(side_rows, key=lambda row: row["images_per_cpu_second"])
    lines = [
        f"{side}, fastest at {WANTED_DB:g} dB: {row['name']}, {row['psnr_db']} dB, {row['images_per_cpu_second']} per s"
        for side, row in best.items()
    ]
    ratio = best["ours"]["images_per_cpu_second"] / best[SCRIPT]["images_per_cpu_second"]
    return [*lines, f"ours / script: {ratio:.2f} (goal 4)"]


def _scenes(count: int) -> list[SceneSpec]:
    params = SimParams(**TASK2SIM_SPACE.to_levels(all_on()))  # type: ignore[arg-type]
    config = RenderConfig(params=params, catalog=CatalogConfig(), seed=SEED)
    specs = [config.scene(catalog_of(config.catalog), index) for index in range(count)]
    return sorted(specs, key=lambda spec: (spec.hdri, spec.model, spec.index))


def _compare(
    settings: RenderSettings, specs: list[SceneSpec], truth: Path, place: Path, *, script: bool
) -> dict[str, float | str]:
    cost = _run(settings, specs, place, script=script)
    expected, found = np.load(truth).astype(float), np.load(place).astype(float)
    error = ((expected - found) ** 2).mean(axis=(1, 2, 3))
    psnr = 10 * np.log10(255**2 / np.maximum(error, 1e-6))
    return {
        "psnr_db": round(float(psnr.mean()), 2),
        "worst_db": round(float(psnr.min()), 2),
        "cpu_ms_per_image": round(cost["cpu_s"] * 1e3, 1),
        "images_per_cpu_second": round(1 / cost["cpu_s"], 2),
        "wall_ms_per_image": round(cost["wall_s"] * 1e3, 1),
    }


def _run(settings: RenderSettings, specs: list[SceneSpec], place: Path, *, script: bool = False) -> dict[str, float]:
    """Render in a fresh process into `place` (.npy); seconds per image without the first one."""
    catalog = catalog_of(CatalogConfig())
    models = {asset.id: model_source(asset) for name in catalog.classes for asset in catalog.models(name)}
    job = {
        "settings": vars(settings),
        "models": {spec.model: models[spec.model] for spec in specs},
        "specs": [spec_to_json(spec) for spec in specs],
        "place": str(place),
    }
    command = [sys.executable, __file__, "--out", str(place.parent), "--child", "script" if script else "ours"]
    done = subprocess.run(  # nosec B603 # this file, arguments as a list
        command, input=json.dumps(job) + "\n", stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _serve(job: dict[str, Any], *, script: bool) -> None:
    """Child of `_run`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from sim.blender.bridge import start_blender

    settings = RenderSettings(**job["settings"])
    start_blender(settings, threads=1, device="cpu")
    folder = Path(job["place"]).parent
    specs = [spec_from_json(record) for record in job["specs"]]
    draw = _script_loop(job, settings) if script else _our_loop(job, settings, folder)
    pictures, cpu, wall = [], 0.0, 0.0
    for number, spec in enumerate(specs):
        cpu_begun, begun = time.process_time(), time.perf_counter()
        pictures.append(draw(spec))
        if number:
            cpu, wall = cpu + time.process_time() - cpu_begun, wall + time.perf_counter() - begun
    np.save(job["place"], np.stack(pictures))
    count = max(1, len(specs) - 1)
    print(json.dumps({"cpu_s": cpu / count, "wall_s": wall / count}), file=answers, flush=True)
    os._exit(0)


def _our_loop(job: dict[str, Any], settings: RenderSettings, folder: Path) -> Any:
    from sim.blender.build import SceneBuilder
    from sim.blender.film import open_film
    from sim.blender.worker import hdri_path, load_model

    builder = SceneBuilder(
        lambda name: load_model(job["models"][name]),
        lambda name: hdri_path(name, None),
        importance_map=settings.importance_map,
        texture_path=Path,
    )

    film = open_film(settings, folder, threads=1)

    def draw(spec: SceneSpec) -> np.ndarray:
        builder.show(spec)
        return film.expose()

    return draw


def _script_loop(job: dict[str, Any], settings: RenderSettings) -> Any:
    """What a user of BlenderProc writes, scene after scene; bounces as ours, or metal and glass would be black."""
    import bpy
    from blenderproc.python.loader.HavenEnvironmentLoader import set_world_background_hdr_img
    from blenderproc.python.renderer import RendererUtility
    from blenderproc.python.types.LightUtility import Light
    from blenderproc.python.types.MeshObjectUtility import create_from_blender_mesh
    from blenderproc.python.utility.Initializer import _Initializer, clean_up
    from mathutils import Euler, Matrix, Vector

    from sim.blender.objects import blender_mesh
    from sim.blender.patterns import Surface
    from sim.blender.worker import hdri_path, load_model

    def draw(spec: SceneSpec) -> np.ndarray:
        clean_up(clean_up_camera=True)
        _Initializer.set_default_parameters()
        RendererUtility.set_max_amount_of_samples(settings.samples)
        RendererUtility.set_light_bounces(settings.diffuse_bounces, settings.glossy_bounces, 0, settings.max_bounces)
        RendererUtility.set_light_bounces(transmission_bounces=settings.transmission_bounces)
        RendererUtility.set_output_format(view_transform="Standard")
        scene = bpy.context.scene
        scene.render.resolution_x = scene.render.resolution_y = settings.size
        mesh = blender_mesh("object", load_model(job["models"][spec.model]))
        for slot, material in enumerate(spec.materials):
            surface = Surface(f"slot{slot}", material.pattern)
            surface.show(material)
            mesh.materials[slot] = surface.blender
        thing = create_from_blender_mesh(mesh)
        thing.set_rotation_euler([np.radians(angle) for angle in spec.object_rotation_deg])
        sun = Light("SUN")
        sun.set_energy(spec.light_strength)
        sun.set_color(spec.light_color)
        sun.set_rotation_euler(Vector(spec.light_direction).to_track_quat("-Z", "Y").to_euler())
        # BlenderProc turns the direction that is looked up, we turn the environment
        rotation = Euler([np.radians(angle) for angle in spec.hdri_rotation_deg]).to_matrix().inverted().to_euler()
        set_world_background_hdr_img(str(hdri_path(spec.hdri, None)), spec.hdri_strength, rotation_euler=rotation)
        position = Vector(spec.camera_position_m)
        camera = scene.camera
        camera.matrix_world = Matrix.Translation(position) @ (-position).to_track_quat("-Z", "Y").to_matrix().to_4x4()
        camera.data.angle = np.radians(spec.field_of_view_deg)
        camera.data.dof.use_dof = spec.focus_distance_m is not None
        if spec.focus_distance_m is not None:
            camera.data.dof.focus_distance, camera.data.dof.aperture_fstop = spec.focus_distance_m, spec.aperture_fstop
        camera.keyframe_insert("location", frame=0)
        camera.keyframe_insert("rotation_euler", frame=0)
        scene.frame_start, scene.frame_end = 0, 1
        return np.asarray(RendererUtility.render(load_keys={"colors"})["colors"][0])[..., :3]

    return draw


if __name__ == "__main__":
    main()
