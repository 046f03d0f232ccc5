"""The display: its arithmetic, its plain lines, its table, its status file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pipelines.job import Outcome
from pipelines.progress import Board, Display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The display's clock; tests move its only entry."""
    now = [1000.0]
    monkeypatch.setattr("pipelines.progress.time.monotonic", lambda: now[0])
    return now


def play(display: Display, clock: list[float]) -> None:
    """Three shards are asked for; one is there, one is done after 10 s, one runs."""
    for _ in range(3):
        display.submitted("render", "images")
    display.found("render")
    for digest in ("a", "b"):
        display.started("render", digest)
    for second in range(1, 11):
        clock[0] += 1
        for digest in ("a", "b"):
            display.message(
                {"stage": "render", "digest": digest, "done": 10 * second, "total": 200, "note": "[red]cup"}
            )
        display.tick(2)
    display.finished("render", Outcome("a", "done", wall_s=10.0))
    clock[0] += 6
    display.tick(2)


def test_rate_and_remaining_time_follow_from_what_was_reported() -> None:
    board = Board()
    row = board.row("render", "images")
    row.total = 4
    board.count("render", "a", 40, 100, "", now=0.0)  # resumed: 40 were there before
    assert row.rate(0.0) is None
    board.count("render", "a", 60, 100, "", now=2.0)
    assert row.rate(2.0) == pytest.approx(10)
    assert board.eta_s() is None
    row.done, row.wall_s = 2, 20.0
    assert board.eta_s() == pytest.approx((2 - 0.6) * 10)
    board.count("render", "b", 1, 100, "", now=3.0)
    assert board.eta_s() == pytest.approx((2 - 0.61) * 10 / 2)
    assert row.rate(100.0) is None


def test_plain_lines_say_what_runs_and_never_stop_for_long(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    play(display, clock)
    lines = stream.getvalue().splitlines()
    assert 3 <= len(lines) <= 5
    assert lines[-1] == "[0:16] render 2/3 (100/200 images, 20 images/s); about 0:05 left of this; 2 workers"
    for _ in range(60):
        clock[0] += 1
        display.tick(2)
    assert len(stream.getvalue().splitlines()) - len(lines) >= 3


def test_jobs_that_wait_at_the_scheduler_do_not_run(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    for number in range(16):
        display.submitted("render", "images")
        display.started("render", str(number))
    display.tick(0)
    assert stream.getvalue() == "[0:00] render 0/16; waiting for workers\n"
    for digest in ("0", "1", "2"):
        display.message({"stage": "render", "digest": digest, "done": 50, "total": 100, "note": ""})
    display.finished("render", Outcome("0", "done", wall_s=10.0))
    record = display.board.as_json(clock[0])
    assert record["stages"]["render"]["running"] == 2
    assert record["eta_s"] == (15 - 2 * 0.5) * 10 / 2


def test_a_failure_is_a_line_of_its_own(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.submitted("render", "images")
    display.started("render", "a")
    display.failed("render", Outcome("a", "crashed"), "render a: killed (log: x)", again=True)
    display.started("render", "a")
    display.failed("render", Outcome("a", "crashed"), "render a: killed (log: x)", again=False)
    assert stream.getvalue().splitlines() == [
        "render a: killed (log: x); starting it again",
        "render a: killed (log: x)",
    ]
    assert display.board.rows["render"].failed == 1


def test_a_terminal_gets_a_table_and_notes_are_no_markup(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    display = Display(stream, title="demo")
    play(display, clock)
    display.close()
    text = stream.getvalue()
    assert "100/200 images" in text and "[red]cup" in text and "2 workers" in text and "demo" in text


def test_the_status_file_is_always_whole(clock: list[float], tmp_path: Path) -> None:
    status = tmp_path / "out" / "status.json"
    display = Display(io.StringIO(), status=status, title="demo")
    play(display, clock)
    record = json.loads(status.read_text())
    assert record["state"] == "running"
    assert record["stages"]["render"]["done"] == 2
    display.close()
    record = json.loads(status.read_text())
    assert (record["state"], record["title"], record["workers"]) == ("ended", "demo", 2)
    assert [path.name for path in status.parent.iterdir()] == ["status.json"]
