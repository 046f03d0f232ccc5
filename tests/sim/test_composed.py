"""Composed classes: graphs that differ by structure, models that keep their class's graph."""

from __future__ import annotations

import numpy as np
import pytest

from sim.composed import (
    ATTACHMENTS,
    FEET,
    SEGMENTS,
    TIPS,
    Group,
    attachment,
    composed_classes,
    draw_graph,
    foot,
    segment,
)


def test_structures_differ_from_class_to_class() -> None:
    graphs = [draw_graph(number)[0] for number in range(100)]
    structures = {
        (tuple(kind for kind, _, _ in g.segments), g.foot, tuple((p.kind, p.tip, p.count) for p in g.groups))
        for g in graphs
    }
    assert len(structures) == 100
    assert {kind for g in graphs for kind, _, _ in g.segments} == set(SEGMENTS)
    assert {g.foot for g in graphs} == set(FEET)
    assert {p.kind for g in graphs for p in g.groups} == set(ATTACHMENTS)


def test_a_class_is_the_same_however_many_there_are() -> None:
    few, many = composed_classes(3), composed_classes(30)
    assert [(c.name, c.build, c.slots) for c in many[:3]] == [(c.name, c.build, c.slots) for c in few]
    assert few[2].name == "composed_002"


def test_models_keep_the_slots_and_vary_the_sizes() -> None:
    for recipe in composed_classes(12):
        models = [recipe.build(np.random.default_rng([5, number])) for number in range(3)]
        for parts in models:
            assert {name for name, _ in parts} == set(recipe.slots)
        extents = [np.ptp(np.concatenate([part.vertices for _, part in parts]), axis=0) for parts in models]
        assert not np.allclose(extents[0], extents[1]) and not np.allclose(extents[1], extents[2])


@pytest.mark.parametrize("kind", SEGMENTS)
def test_segments_stand_on_the_ground_at_about_their_height(kind: str) -> None:
    part = segment(kind, 0.3, 0.8, 6, np.random.default_rng(1))
    assert part.volume() > 0
    assert part.vertices[:, 2].min() == pytest.approx(0.28 if kind == "disc" else 0, abs=0.08)
    assert part.vertices[:, 2].max() == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("kind", FEET)
def test_feet_reach_below_the_ground(kind: str) -> None:
    part = foot(kind, 0.3, 0.3)
    assert part.volume() > 0 and part.vertices[:, 2].min() < 0


@pytest.mark.parametrize("kind", ATTACHMENTS)
@pytest.mark.parametrize("tip", TIPS)
def test_attachments_point_away_from_the_trunk(kind: str, tip: str) -> None:
    group = Group(kind, tip, 3, 0.5, 0.6, 0.0, "limb")
    part = attachment(group, 0.6, 0.2, np.random.default_rng(2))
    assert part.volume() > 0
    assert part.vertices[:, 0].max() > 0.2 + 0.6 * 0.6
