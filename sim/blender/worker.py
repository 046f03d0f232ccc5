"""Entry point of the Blender child: `python -m sim.blender.worker`; scenes in on stdin, pixels out on stdout.

The child ends when its stdin closes, also in the middle of a render: a thread reads stdin, and Blender
lets go of the interpreter lock while it renders. So it never outlives its parent, whatever kills that
one. Blender prints to file descriptor 1 at will; the pixels travel on a copy of the original one, and 1
goes to the log. It ends with `os._exit` because Blender may crash on its way out after good work.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.wire import RenderSettings, pack_frame, spec_from_json

if TYPE_CHECKING:
    from sim.meshfile import FileMesh

LOG_LIMIT_BYTES = 4 << 20
"""Blender prints a few lines per image; the log starts again when it is longer than this."""


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)
    lines: queue.Queue[str] = queue.Queue()
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_read_lines, args=(lines, job["folder"]), daemon=True).start()
    try:
        _serve(job, lines, out)
    except Exception as error:
        _send(out, {"kind": "fatal", "error": type(error).__name__, "message": str(error)})
        sys.stderr.flush()
        os._exit(1)


def _read_lines(lines: queue.Queue[str], folder: str) -> None:
    while line := sys.stdin.readline():
        lines.put(line)
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve(job: dict[str, Any], lines: queue.Queue[str], out: int) -> None:
    from sim.blender.bridge import start_blender

    settings = RenderSettings(**job["settings"])
    start_blender(settings, threads=job["threads"], device=job["device"])
    import bpy

    from sim.blender.build import SceneBuilder
    from sim.blender.film import open_film

    models: dict[str, dict[str, Any]] = {}
    hdris: dict[str, str | None] = {}
    textures: dict[str, str] = {}
    builder = SceneBuilder(
        lambda name: load_model(models[name]),
        lambda name: hdri_path(name, hdris[name]),
        importance_map=settings.importance_map,
        texture_path=lambda name: Path(textures[name]),
    )
    film = open_film(settings, Path(job["folder"]), threads=job["threads"])
    if job["device"] != "cpu":
        # Compiles what the wheel has no kernels for, once per node: the parent holds a lock until this child is ready.
        bpy.ops.render.render()
    labeller = None
    if settings.labels:
        from sim.blender.labels import LabelRenderer

        labeller = LabelRenderer(builder, Path(job["folder"]), job["threads"])
    programs = ", ".join([f"bpy {bpy.app.version_string}", *film.programs])
    _send(out, {"kind": "ready", "programs": programs, "pid": os.getpid()})
    log = None
    while True:
        request = json.loads(lines.get())
        if request["log"] != log:
            log = request["log"]
            print_to(log)
        spec = spec_from_json(request["spec"])
        models.update(request["models"])
        hdris[spec.hdri] = request["hdri"]
        textures.update(request["textures"])
        try:
            builder.show(spec)
            pixels = film.expose()
            labels, objects = ({}, []) if labeller is None else labeller.render(spec)
        except Exception as error:  # a bad model or HDRI fails its own image, the child goes on
            head = {"kind": "failed", "index": spec.index, "message": f"{type(error).__name__}: {error}"}
            _send(out, head)
            continue
        if os.fstat(1).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(1, 0)
        arrays = {"pixels": pixels, **labels}
        head = {
            "kind": "image",
            "index": spec.index,
            "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
            "objects": objects,
            "rss_mb": _resident_mb(),
        }
        _send(out, head, b"".join(array.tobytes() for array in arrays.values()))


def print_to(log: str) -> None:
    """Append what this process prints from now on to another file, also what Blender prints past Python.

    Where that cannot be opened the output stays where it went before: a log is no reason to lose an image.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def load_model(source: dict[str, Any]) -> FileMesh:
    """Mesh of a source as `sim.render` describes it: procedural (made here) or a normalised .npz file."""
    from sim.meshfile import FileMesh, read_mesh
    from sim.shapes import build_mesh

    if source["kind"] == "procedural":
        return FileMesh(build_mesh(source["seed"], source["class_name"], source["index"]))
    if source["kind"] == "file":
        return read_mesh(Path(source["path"]))
    raise ValueError(f"model source is {source['kind']!r}; allowed: procedural, file")


def hdri_path(name: str, path: str | None) -> Path:
    """An HDRI without a path is one of the eight CC0 Poly Haven environments inside the bpy wheel."""
    if path is not None:
        return Path(path)
    import bpy

    return Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world" / f"{name}.exr"


def _resident_mb() -> int:
    """Resident memory now, where the system tells it; else the maximum so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return pages * resource.getpagesize() // 2**20


def _send(out: int, head: dict[str, Any], payload: bytes = b"") -> None:
    data = memoryview(pack_frame(head, payload))
    while data:
        data = data[os.write(out, data) :]


if __name__ == "__main__":
    main()
