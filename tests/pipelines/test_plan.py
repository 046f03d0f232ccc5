"""The flow's pure core: events in, jobs to start out."""

from __future__ import annotations

import random

import pytest

from pipelines.job import Job
from pipelines.plan import Plan


def job(name: str) -> Job:
    return Job(stage=name, version="1", function="m:f", kind="python", config={}, store="s", log="l")


def digest(name: str) -> str:
    return job(name).key.digest


def plan_of(**needs: list[str]) -> Plan:
    plan = Plan(retries=2)
    for name, names in needs.items():
        plan.add(job(name), [digest(need) for need in names])
    return plan


def started(plan: Plan, limit: int = 99) -> list[str]:
    return [job.stage for job in plan.start(limit)]


def test_jobs_start_when_what_they_need_is_complete() -> None:
    plan = plan_of(a=[], b=[], c=["a", "b"], d=["c"])
    assert started(plan) == ["a", "b"]
    plan.complete(digest("a"))
    assert started(plan) == []
    plan.complete(digest("b"))
    assert started(plan) == ["c"]
    plan.complete(digest("c"))
    assert started(plan) == ["d"]
    plan.complete(digest("d"))
    assert plan.idle() and not plan.nodes


def test_at_most_so_many_run_at_once() -> None:
    plan = plan_of(a=[], b=[], c=[])
    assert started(plan, 2) == ["a", "b"]
    assert started(plan, 2) == []
    plan.complete(digest("a"))
    assert started(plan, 2) == ["c"]


def test_adding_twice_is_adding_once_and_done_is_done() -> None:
    plan = plan_of(a=[])
    plan.add(job("a"), [])
    assert started(plan) == ["a"]
    plan.complete(digest("a"))
    assert plan.add(job("a"), []) is None
    assert started(plan) == []
    plan.add(job("b"), [digest("a")])
    assert started(plan) == ["b"]


def test_a_failure_blocks_what_needs_it_and_nothing_else() -> None:
    plan = plan_of(a=[], b=[], c=["a"], d=["c"], e=["b"])
    assert started(plan) == ["a", "b"]
    plan.fail(digest("a"), "no")
    plan.complete(digest("b"))
    assert started(plan) == ["e"]
    assert plan.nodes[digest("d")].state == "blocked"
    broken = plan.broken(digest("d"))
    assert broken is not None and broken.job.stage == "a"
    plan.add(job("late"), [digest("d")])
    late = plan.broken(digest("late"))
    assert late is not None and late.why == "no"
    plan.complete(digest("e"))
    assert plan.idle()


def test_a_dead_process_is_started_again_a_bounded_number_of_times() -> None:
    plan = plan_of(a=[])
    for _ in range(2):
        assert started(plan) == ["a"]
        assert plan.died(digest("a"), "killed")
    assert started(plan) == ["a"]
    assert not plan.died(digest("a"), "killed")
    assert plan.idle()
    assert plan.nodes[digest("a")].why == "killed (3 attempts)"


def test_orderly_stops_use_up_no_attempt() -> None:
    """A training of eleven walltimes is stopped ten times."""
    plan = plan_of(a=[])
    for _ in range(10):
        assert started(plan) == ["a"]
        plan.stopped(digest("a"))
    for _ in range(2):
        assert started(plan) == ["a"]
        assert plan.died(digest("a"), "killed")
    assert started(plan) == ["a"]
    assert not plan.died(digest("a"), "killed")
    assert plan.nodes[digest("a")].why == "killed (3 attempts)"


def test_an_unknown_need_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="never submitted"):
        plan_of(a=["b"])


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_completes_each_job_once_and_in_order(seed: int) -> None:
    """Against the obvious rule: a job may start once all it needs is done, and everything gets done."""
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(30)]
    needs = {name: rng.sample(names[:i], k=min(i, rng.randrange(4))) for i, name in enumerate(names)}
    plan = plan_of(**needs)
    running: list[str] = []
    finished: list[str] = []
    while not plan.idle():
        fresh = started(plan, limit=rng.randint(1, 5))
        for name in fresh:
            assert set(needs[name]) <= set(finished)
        running += fresh
        done = running.pop(rng.randrange(len(running)))
        if rng.random() < 0.1 and plan.nodes[digest(done)].attempts <= 2:
            assert plan.died(digest(done), "killed")
        else:
            plan.complete(digest(done))
            finished.append(done)
    assert sorted(finished) == sorted(names)
