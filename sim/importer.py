"""Child process that imports users' files, each in a throw-away fork with limits: `python -m sim.importer`.

Reads one JSON job per line on stdin, answers with one JSON line each: the record of what was made, or the reason why
a file is not taken. A job is a model (path, root, up, out) or a texture set (maps, out). Forking after the heavy
imports makes a process per file cost milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY_LIMIT_BYTES = 4 << 30
TIME_LIMIT_S = 60.0


def main() -> None:
    import trimesh  # noqa: F401 - imported once here, inherited by every fork

    import sim.importing
    import sim.textures  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(run_job(json.loads(line))), file=answers, flush=True)
    os._exit(0)


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Import one file in a fork of this process; never raises for what the file does."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setpgid(0, 0)  # with what it may start, it is one group that can be killed
        os._exit(_import_here(job, writer))
    os.close(writer)
    with suppress(PermissionError, ProcessLookupError):  # here too: the child may not have come to it in time
        os.setpgid(child, child)
    try:
        return _await_answer(child, reader)
    finally:
        os.close(reader)


def _await_answer(child: int, reader: int) -> dict[str, Any]:
    deadline = time.monotonic() + TIME_LIMIT_S
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"error": f"reading it took more than {TIME_LIMIT_S:g} s"}
        time.sleep(0.002)
    text = os.read(reader, 1 << 16)  # an answer is a few kilobytes: it fits the pipe
    if text:
        answer: dict[str, Any] = json.loads(text)
        return answer
    if os.WIFSIGNALED(status):
        return {"error": f"reading it ended with signal {os.WTERMSIG(status)}"}
    return {"error": "reading it failed without a word"}


def _import_here(job: dict[str, Any], writer: int) -> int:
    from sim.importing import ImportRefused
    from sim.textures import TextureRefused

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    answer: dict[str, Any]
    try:
        answer = _textures(job) if "maps" in job else _model(job)
    except ImportRefused as error:
        answer = {"error": str(error)}
    except TextureRefused as error:
        answer = {"error": str(error), "path": str(error.path)}
    except MemoryError:
        answer = {"error": f"reading it takes more than {MEMORY_LIMIT_BYTES >> 30} GB of memory"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    text = json.dumps(answer).encode()
    if len(text) >= 1 << 16:
        text = json.dumps({"error": f"it has {len(answer['materials'])} materials, too many"}).encode()
    os.write(writer, text)
    return 0


def _model(job: dict[str, Any]) -> dict[str, Any]:
    from sim.conversion import import_trusted
    from sim.importing import import_file
    from sim.meshfile import write_mesh

    path = Path(job["path"])
    model = import_trusted(path) if job.get("trusted") else import_file(path, Path(job["root"]), up=job["up"])
    write_mesh(Path(job["out"]), model.made)
    vertices = model.made.mesh.vertices
    return {
        "sha256": model.sha256,
        "triangles": len(model.made.mesh.faces),
        "size_m": [round(float(x), 6) for x in vertices.max(0) - vertices.min(0)],
        "materials": [dataclasses.asdict(material) for material in model.materials],
        "references": model.references,
    }


def _textures(job: dict[str, Any]) -> dict[str, Any]:
    from sim.textures import import_textures

    return import_textures({role: Path(path) for role, path in job["maps"].items()}, Path(job["out"]))


if __name__ == "__main__":
    main()
