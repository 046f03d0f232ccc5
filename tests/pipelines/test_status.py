"""A run seen from another shell."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.job import Outcome
from pipelines.progress import Display
from pipelines.status import WORK, format_status, read_status


def some_run(folder: Path) -> Display:
    display = Display(io.StringIO(), status=folder / "status.json", title="simpath demo")
    display.link("http://127.0.0.1:8787/status")
    for _ in range(3):
        display.submitted("render_shard", "images")
    display.found("render_shard")
    for digest in ("a", "b"):
        display.started("render_shard", digest)
    display.finished("render_shard", Outcome("a", "done", wall_s=10, cpu_s=9, rss_bytes=300 << 20))
    display.failed("render_shard", Outcome("b", "failed"), "render_shard b: no (log: x)", again=False)
    display.tick(2)
    return display


def test_a_running_run_shows_stages_workers_and_problems(tmp_path: Path) -> None:
    some_run(tmp_path)
    status = read_status(tmp_path)
    assert (status.state, status.workers) == ("running", 2)
    assert format_status(status).splitlines() == [
        "simpath demo: running for 0:00 on 2 workers",
        "  render_shard  2/3, 1 from the store, 1 failed, 9 CPU-s, 300 MiB",
        "dashboard: http://127.0.0.1:8787/status",
        "problem: render_shard b: no (log: x)",
    ]


def test_an_ended_run_says_so(tmp_path: Path) -> None:
    some_run(tmp_path).close()
    assert format_status(read_status(tmp_path)).startswith("simpath demo: ended after 0:00\n")


def test_a_killed_run_is_told_from_a_running_one(tmp_path: Path) -> None:
    some_run(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path = tmp_path / "status.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "pid": dead.pid}))
    assert read_status(tmp_path).state == "lost"
    assert "run the same command again to continue" in format_status(read_status(tmp_path))
    elsewhere = {**record, "host": "another-machine"}
    path.write_text(json.dumps(elsewhere))
    assert read_status(tmp_path).state == "running"
    path.write_text(json.dumps({**elsewhere, "time": record["time"] - 3600}))
    assert read_status(tmp_path).state == "lost"


def test_a_data_set_under_way_on_a_cluster_has_a_status_until_it_is_complete(tmp_path: Path) -> None:
    some_run(tmp_path / WORK)
    assert read_status(tmp_path).state == "running"
    (tmp_path / WORK / "status.json").unlink()
    (tmp_path / "index.json").touch()
    with pytest.raises(FileNotFoundError, match="holds a complete data set, and nothing is under way there"):
        read_status(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"state": "running"}'])
def test_what_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no run: status\.json is missing"):
        read_status(tmp_path)
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(ValueError, match="is not a run's status"):
        read_status(tmp_path)
