"""The driver of the Blender child, against a stand-in child that crashes, hangs and grows on request."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sim.assets import AssetCatalog, CatalogConfig, load_catalog
from sim.child import HELD, Child, ChildLost
from sim.params import SimParams, SimRanges
from sim.render import BlenderRenderer, RenderError, ScenesFailed
from sim.scene import SceneSpec, sample_scene
from sim.wire import RenderSettings, pack_frame, spec_from_json, spec_to_json, split_frame

STAND_IN = """
import json, os, sys, time
from pathlib import Path
from sim.wire import pack_frame
plan = json.loads(sys.argv[1])
folder = Path(plan["folder"])
def send(head, payload=b""):
    sys.stdout.buffer.write(pack_frame(head, payload)); sys.stdout.buffer.flush()
def first_time(what):
    mark = folder / what
    seen = mark.exists(); mark.touch()
    return not seen
json.loads(sys.stdin.readline())
with (folder / "starts").open("a") as file: file.write("x")
started = (folder / "starts").stat().st_size
if started <= plan.get("killed_starts", 0): os.kill(os.getpid(), 9)
if started <= plan.get("hung_starts", 0): time.sleep(60)
if "fatal" in plan:
    send({"kind": "fatal", "error": "X", "message": plan["fatal"]}); sys.exit(1)
send({"kind": "ready", "programs": "bpy 9.9", "pid": os.getpid()})
rendered = 0
for line in sys.stdin:
    request = json.loads(line)
    index = request["spec"]["index"]
    with open(request["log"], "a") as file: file.write(f"image {index}\\n")
    if index in plan.get("always_crash", []): os._exit(7)
    if index in plan.get("crash_once", []) and first_time(f"crash{index}"): os.kill(os.getpid(), 11)
    if index in plan.get("hang_once", []) and first_time(f"hang{index}"): time.sleep(60)
    if index in plan.get("bad", []):
        send({"kind": "failed", "index": index, "message": "ValueError: broken model"}); continue
    rendered += 1
    rss = 100 + rendered * plan.get("growth_mb", 0)
    arrays = [["pixels", "|u1", [4, 4, 3]]]
    head = {"kind": "image", "index": index, "arrays": arrays, "objects": [], "rss_mb": rss}
    send(head, bytes([index]) * 48)
"""


@pytest.fixture(scope="module")
def catalog() -> AssetCatalog:
    return load_catalog(CatalogConfig(num_classes=2, models_per_class=2))


def scenes(catalog: AssetCatalog, count: int) -> list[SceneSpec]:
    return [sample_scene(catalog, SimParams(), SimRanges(), 0, index) for index in range(count)]


def stand_in(catalog: AssetCatalog, folder: Path, **plan: object) -> BlenderRenderer:
    script = folder / "child.py"
    script.write_text(STAND_IN)
    command = [sys.executable, str(script), json.dumps({"folder": str(folder), **plan})]
    return BlenderRenderer(catalog, RenderSettings(size=16), timeout_s=5.0, memory_limit_mb=1000, command=command)


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text())


def test_every_scene_comes_back_in_order_from_one_child(catalog: AssetCatalog, tmp_path: Path) -> None:
    specs = scenes(catalog, 9)
    with stand_in(catalog, tmp_path) as renderer:
        done = list(renderer.render(specs))
        again = list(renderer.render(specs[:2]))
    assert [spec for spec, _ in done] == specs
    assert all((pixels == spec.index).all() and pixels.shape == (4, 4, 3) for spec, pixels in done)
    assert len(again) == 2
    assert starts(tmp_path) == 1


def test_a_crash_costs_no_image(catalog: AssetCatalog, tmp_path: Path) -> None:
    with stand_in(catalog, tmp_path, crash_once=[3, 5]) as renderer:
        done = [spec.index for spec, _ in renderer.render(scenes(catalog, 8))]
    assert done == list(range(8))
    assert starts(tmp_path) == 3


def test_what_a_child_sent_before_it_died_is_read_before_its_death_is_told(tmp_path: Path) -> None:
    frame = pack_frame({"kind": "image", "index": 0}, b"xyz")
    script = f"import os, sys; sys.stdin.readline(); os.write(1, {frame!r}); os._exit(7)"
    child = Child([sys.executable, "-c", script], tmp_path / "log", {}, threads=1)
    try:
        child.send({"spec": 0})
        child.process.wait(30)
        child.send({"spec": 1})  # nobody reads this
        assert child.receive(30.0) == ({"kind": "image", "index": 0}, b"xyz")
        with pytest.raises(ChildLost, match="exit status 7"):
            child.receive(30.0)
    finally:
        child.stop()


def test_a_hang_costs_no_image(catalog: AssetCatalog, tmp_path: Path) -> None:
    with stand_in(catalog, tmp_path, hang_once=[2]) as renderer:
        renderer._timeout_s = 1.0
        done = [spec.index for spec, _ in renderer.render(scenes(catalog, 4))]
    assert done == list(range(4))
    assert starts(tmp_path) == 2


def test_a_scene_that_always_kills_the_child_is_named_after_all_others(catalog: AssetCatalog, tmp_path: Path) -> None:
    specs = scenes(catalog, 6)
    done = []
    with (
        stand_in(catalog, tmp_path, always_crash=[2], bad=[4]) as renderer,
        pytest.raises(ScenesFailed, match=r"2 scene\(s\) failed, first: image 2 .*exit status 7") as caught,
    ):
        for spec, _ in renderer.render(specs):
            done.append(spec.index)
    assert done == [0, 1, 3, 5]
    assert [failure.index for failure in caught.value.failures] == [2, 4]
    assert caught.value.failures[0].model == specs[2].model
    assert "broken model" in caught.value.failures[1].reason
    assert starts(tmp_path) == 1 + 3  # two retries of scene 2, and one more child for the rest


def test_a_child_that_grows_is_replaced_between_images(catalog: AssetCatalog, tmp_path: Path) -> None:
    with stand_in(catalog, tmp_path, growth_mb=300) as renderer:
        done = [spec.index for spec, _ in renderer.render(scenes(catalog, 20))]
    assert done == list(range(20))
    assert 3 <= starts(tmp_path) <= 5


def test_a_killed_child_is_replaced(catalog: AssetCatalog, tmp_path: Path) -> None:
    done = []
    with stand_in(catalog, tmp_path) as renderer:
        for spec, _ in renderer.render(scenes(catalog, 10)):
            done.append(spec.index)
            if spec.index == 4:
                assert renderer.pid is not None
                os.kill(renderer.pid, signal.SIGKILL)
    assert done == list(range(10))


def test_a_child_that_is_killed_while_it_starts_is_started_again(catalog: AssetCatalog, tmp_path: Path) -> None:
    with stand_in(catalog, tmp_path, killed_starts=2) as renderer:
        done = [spec.index for spec, _ in renderer.render(scenes(catalog, 3))]
    assert done == [0, 1, 2]
    assert starts(tmp_path) == 3


def test_a_child_that_hangs_while_it_starts_is_started_again(
    catalog: AssetCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.render.STARTUP_TIMEOUT_S", 6.0)
    with stand_in(catalog, tmp_path, hung_starts=1) as renderer:
        done = [spec.index for spec, _ in renderer.render(scenes(catalog, 3))]
    assert done == [0, 1, 2]
    assert starts(tmp_path) >= 2


def test_a_child_that_is_killed_at_every_start_is_given_up(catalog: AssetCatalog, tmp_path: Path) -> None:
    with (
        stand_in(catalog, tmp_path, killed_starts=99) as renderer,
        pytest.raises(RenderError, match=r"did not start: .*signal 9 \(3 attempts\)"),
    ):
        list(renderer.render(scenes(catalog, 1)))
    assert starts(tmp_path) == 1 + 2


def test_what_blender_says_about_itself_ends_the_run(catalog: AssetCatalog, tmp_path: Path) -> None:
    with (
        stand_in(catalog, tmp_path, fatal="device 'cuda' was asked for") as renderer,
        pytest.raises(RenderError, match="device 'cuda' was asked for"),
    ):
        list(renderer.render(scenes(catalog, 1)))
    assert starts(tmp_path) == 1


def test_a_child_that_cannot_import_is_reported_at_once_with_its_last_words(
    catalog: AssetCatalog, tmp_path: Path
) -> None:
    script = "import sys; sys.stdin.readline(); open(sys.argv[1], 'a').write('x'); import no_such_thing"
    command = [sys.executable, "-c", script, str(tmp_path / "starts")]
    with (
        BlenderRenderer(catalog, RenderSettings(size=16), command=command) as renderer,
        pytest.raises(RenderError, match=r"did not start: .*exit status 1 \(ModuleNotFoundError.*no_such_thing'\)$"),
    ):
        list(renderer.render(scenes(catalog, 1)))
    assert starts(tmp_path) == 1


def test_a_model_or_hdri_outside_the_catalogue_is_refused(catalog: AssetCatalog, tmp_path: Path) -> None:
    spec = scenes(catalog, 1)[0]
    with stand_in(catalog, tmp_path) as renderer:
        with pytest.raises(ValueError, match="model 'no/1'"):
            list(renderer.render([dataclasses.replace(spec, model="no/1")]))
        with pytest.raises(ValueError, match="HDRI 'nowhere'"):
            list(renderer.render([dataclasses.replace(spec, hdri="nowhere")]))


def test_what_is_printed_goes_to_the_log_of_the_shard_that_is_rendered(catalog: AssetCatalog, tmp_path: Path) -> None:
    specs = scenes(catalog, 5)
    with stand_in(catalog, tmp_path, always_crash=[4]) as renderer:
        for name, part in {"one": specs[:2], "two": specs[2:4]}.items():
            renderer.log_to(tmp_path / name)
            assert len(list(renderer.render(part))) == 2
        renderer.log_to(tmp_path / "three")
        with pytest.raises(ScenesFailed, match=r"exit status 7 \(image 4\)"):
            list(renderer.render(specs[4:]))
    logs = {name: (tmp_path / name).read_text().splitlines() for name in ("one", "two")}
    assert logs == {"one": ["image 0", "image 1"], "two": ["image 2", "image 3"]}


def test_a_blender_child_prints_to_the_log_that_it_is_told(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from sim.blender.worker import print_to\n"
        "os.write(1, b'first ')\n"
        "print_to(sys.argv[1])\n"
        "os.write(1, b'second ')\n"
        "print_to(sys.argv[2])\n"
        "print('third', file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "log"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("first ", "")
    text = (tmp_path / "log").read_text()
    assert text.startswith("second ") and "Is a directory" in text and text.endswith("third\n")


def test_folders_of_children_that_were_killed_with_their_parents_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.child.SHARED_MEMORY", tmp_path)
    for name in ("simpath-left", "simpath-used", "simpath-young", "other-left"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture.exr").touch()
    for name in ("simpath-left", "simpath-used", "other-left"):
        (tmp_path / name / HELD).touch()
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (tmp_path / "simpath-used" / HELD).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        children = [Child(command, None, {}, threads=1) for _ in range(2)]  # the second leaves the first one's
        there = {path.name for path in tmp_path.iterdir()}
        folders = {Path(child.folder).name for child in children}
        for child in children:
            child.stop()
    assert len(folders) == 2
    assert there == folders | {"simpath-used", "simpath-young", "other-left"}
    assert {path.name for path in tmp_path.iterdir()} == there - folders


def test_a_scene_survives_the_wire(catalog: AssetCatalog) -> None:
    for spec in scenes(catalog, 4):
        assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_frames_are_cut_from_a_stream_in_any_pieces() -> None:
    stream = pack_frame({"kind": "a"}, b"xyz") + pack_frame({"kind": "b"})
    buffer, frames = bytearray(), []
    for position in range(len(stream)):
        buffer += stream[position : position + 1]
        while (frame := split_frame(buffer)) is not None:
            frames.append(frame)
    assert frames == [({"kind": "a"}, b"xyz"), ({"kind": "b"}, b"")]
    assert not buffer


@pytest.mark.parametrize(
    ("field", "value"), [("size", 8), ("samples", 0), ("denoiser", "magic"), ("importance_map", 1)]
)
def test_settings_outside_their_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{field} is {value!r}; allowed:"):
        RenderSettings(**{field: value})  # type: ignore[arg-type]


def test_pixels_are_uint8(catalog: AssetCatalog, tmp_path: Path) -> None:
    with stand_in(catalog, tmp_path) as renderer:
        ((_, pixels),) = renderer.render(scenes(catalog, 1))
    assert pixels.dtype == np.uint8
