"""What comes back from tasks: one outcome each, whatever else arrives and in which order."""

from __future__ import annotations

import threading

import pytest

from pipelines.inbox import Inbox, outcome_message
from pipelines.job import Outcome

DONE = Outcome("d1", "done", wall_s=1.5, cpu_s=1.25, rss_bytes=7, host="node")


def test_an_outcome_comes_out_once_and_as_it_was_sent() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    inbox.receive(outcome_message("t1", DONE))
    inbox.receive(outcome_message("t1", DONE))
    inbox.ended("t1", "d1", "the worker died")
    assert inbox.outcomes(0) == [DONE]
    assert inbox.outcomes(0) == []


def test_a_task_that_ended_without_an_outcome_is_a_crash() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    inbox.ended("t1", "d1", "the worker died")
    inbox.receive(outcome_message("t1", DONE))
    assert inbox.outcomes(0) == [Outcome("d1", "crashed", "the worker died")]
    assert inbox.outcomes(0) == []


def test_a_second_attempt_is_not_ended_by_the_first() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    inbox.ended("t1", "d1", "the worker died")
    assert len(inbox.outcomes(0)) == 1
    inbox.expect("t2")
    inbox.receive(outcome_message("t1", DONE))
    assert inbox.outcomes(0) == []
    inbox.receive(outcome_message("t2", DONE))
    assert inbox.outcomes(0) == [DONE]


def test_what_comes_after_a_stop_is_dropped() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    inbox.expect("t2")
    inbox.expect_nothing()
    inbox.receive(outcome_message("t1", Outcome("d1", "stopped", "stopped by SIGTERM")))
    inbox.ended("t2", "d2", "the scheduler dropped the task (cancelled)")
    assert inbox.outcomes(0) == []


def test_progress_and_outcomes_do_not_mix() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    inbox.receive({"stage": "number", "digest": "d1", "done": 1, "total": 2, "note": ""})
    inbox.receive(outcome_message("t1", DONE))
    assert [message["done"] for message in inbox.messages()] == [1]
    assert inbox.messages() == []
    assert inbox.outcomes(0) == [DONE]


def test_a_message_that_cannot_be_read_does_not_pass_for_an_outcome() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    with pytest.raises(ValueError, match="outcome"):
        inbox.receive({"task": "t1", "outcome": '{"digest": "d1", "status": "perhaps"}'})
    inbox.ended("t1", "d1", "lost")
    assert [outcome.status for outcome in inbox.outcomes(0)] == ["crashed"]


def test_waiting_ends_with_the_first_outcome() -> None:
    inbox = Inbox()
    inbox.expect("t1")
    sender = threading.Timer(0.05, inbox.receive, [outcome_message("t1", DONE)])
    sender.start()
    assert inbox.outcomes(timeout_s=60) == [DONE]
    sender.join()
