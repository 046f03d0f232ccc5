"""GPUs by the names that the runtime has for them, through to the environment of a Blender child."""

from __future__ import annotations

import os
import sys
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from sim.assets import CatalogConfig, load_catalog
from sim.devices import gpu_names
from sim.render import BlenderRenderer, RenderError
from sim.shardrun import ShardRun, worker_count
from sim.shards import RenderConfig
from sim.wire import Device, RenderSettings

UUIDS = ("GPU-5a3f1c2e", "MIG-77b0")


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0", ["0"]),
        ("3,7", ["3", "7"]),
        (" 5, 2 ", ["5", "2"]),
        (",".join(UUIDS), list(UUIDS)),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("4,-1,2", ["4"]),
    ],
)
def test_gpus_have_the_names_that_the_variable_gives_them(visible: str, names: list[str]) -> None:
    for device in ("cuda", "optix"):
        assert gpu_names(device, {"CUDA_VISIBLE_DEVICES": visible, "HIP_VISIBLE_DEVICES": "9"}) == names
    assert gpu_names("hip", {"HIP_VISIBLE_DEVICES": visible, "CUDA_VISIBLE_DEVICES": "9"}) == names
    assert gpu_names("cpu", {"CUDA_VISIBLE_DEVICES": visible}) == []


def test_without_the_variable_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'GPU 0: A (UUID: GPU-x)\\n  MIG 1g Device 0: (UUID: MIG-y)\\nGPU 1: A\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu_names("cuda", {}) == ["0", "1"]
    smi.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_names("cuda", {}) == []


def test_amd_gpus_are_counted_by_the_driver_s_topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.devices.AMD_NODES", tmp_path)
    assert gpu_names("hip", {}) == []
    for number, simd_count in enumerate((0, 0, 160, 304)):  # two processors, two GPUs
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "properties").write_text(f"cpu_cores_count 1\nsimd_count {simd_count}\nmem 2\n")
    assert gpu_names("hip", {}) == ["0", "1"]


@pytest.mark.parametrize(
    ("visible", "workers", "expected"),
    [
        ("3,7", None, {"3": 1, "7": 1}),
        ("3,7", 4, {"3": 2, "7": 2}),
        (",".join(UUIDS), 3, {UUIDS[0]: 2, UUIDS[1]: 1}),
        ("6", 2, {None: 2}),  # the children see what this process sees
    ],
)
def test_workers_are_spread_over_the_visible_gpus(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    workers: int | None,
    expected: dict[str | None, int],
) -> None:
    given: Counter[str | None] = Counter()

    def opened(config: RenderConfig, *, device: Device, threads: int, gpu: str | None) -> AbstractContextManager[Any]:
        given[gpu] += 1
        raise RenderError("not today")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    plan = [(5 * number, 5) for number in range(8)]
    run = ShardRun(RenderConfig(images_per_shard=5), tmp_path, plan, workers, "optix", None, opened)
    assert worker_count(workers, "optix") == sum(expected.values())
    for number in range(sum(expected.values())):
        with pytest.raises(RenderError):
            run._work(number)
    assert given == expected


@pytest.mark.parametrize(("device", "variable"), [("optix", "CUDA_VISIBLE_DEVICES"), ("hip", "HIP_VISIBLE_DEVICES")])
def test_a_child_sees_its_own_gpu_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device, variable: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1,2")
    script = "import os, sys; sys.stdin.readline(); sys.exit(os.environ[sys.argv[1]])"
    catalog = load_catalog(CatalogConfig(num_classes=1, models_per_class=1))
    for gpu, seen in (("GPU-b", "GPU-b"), (None, os.environ[variable])):
        command = [sys.executable, "-c", script, variable]
        with (
            BlenderRenderer(catalog, RenderSettings(size=16), device=device, gpu=gpu, command=command) as renderer,
            pytest.raises(RenderError, match=rf"exit status 1 \({seen}\)"),
        ):
            list(renderer.render([_any_scene(catalog)]))


def _any_scene(catalog: Any) -> Any:
    return RenderConfig(catalog=CatalogConfig(num_classes=1, models_per_class=1)).scene(catalog, 0)
