"""The generator of reward tables: exact shares, readable embeddings, known structure."""

from __future__ import annotations

import numpy as np
import pytest

from controller.synthetic import Shares, make_table
from sim.params import ActionSpace

PARTS = {
    "shared_main": 0.4,
    "vector_main": 0.25,
    "own_main": 0.15,
    "shared_pair": 0.075,
    "own_pair": 0.075,
    "noise": 0.05,
}


def test_every_part_has_exactly_its_share_and_they_add_up() -> None:
    table = make_table(0)
    assert table.rewards.shape == (20, 256)
    centred = table.rewards - table.rewards.mean(axis=1, keepdims=True)
    assert centred.var() == pytest.approx(25)
    assert set(table.parts) == set(PARTS)
    for name, share in PARTS.items():
        assert (table.parts[name] ** 2).mean() == pytest.approx(25 * share)
    np.testing.assert_allclose(sum(table.parts.values()), centred, atol=1e-9)


def test_the_visible_part_is_linear_in_the_embedding_and_the_tasks_own_is_not() -> None:
    table = make_table(1)
    vectors = table.vectors - table.vectors.mean(axis=0)
    for name, explained in (("vector_main", 0.95), ("own_main", 0.3)):
        part = table.parts[name] - table.parts[name].mean(axis=0)
        left, singular, _ = np.linalg.svd(vectors, full_matrices=False)
        basis = left[:, singular > 0.05 * singular[0]]
        share = ((basis @ (basis.T @ part)) ** 2).sum() / (part**2).sum()
        assert (share > explained) == (name == "vector_main")


def test_pairs_and_noise_have_no_main_effects() -> None:
    table = make_table(2)
    signs = 2.0 * table.actions - 1
    for name in ("shared_pair", "own_pair", "noise"):
        np.testing.assert_allclose(table.parts[name] @ signs, 0, atol=1e-8)


def test_optima_depend_on_the_task_only_where_a_part_does() -> None:
    shared = make_table(3, shares=Shares(1.0, 0.0, 0.0, 0.0, 0.0))
    assert len({shared.best(task) for task in shared.tasks}) == 1
    own = make_table(3, shares=Shares(0.0, 0.5, 0.5, 0.0, 0.0))
    assert len({own.best(task) for task in own.tasks}) > 10


def test_an_additive_table_is_best_where_every_parameter_is() -> None:
    table = make_table(4, shares=Shares(0.5, 0.3, 0.2, 0.0, 0.0))
    signs = 2.0 * table.actions - 1
    effects = table.rewards @ signs
    for task, row in zip(table.tasks, effects, strict=True):
        assert table.best(task) == tuple(int(effect > 0) for effect in row)


def test_more_levels_and_scales_are_possible_and_seeds_differ() -> None:
    space = ActionSpace((("a", ("x", "y", "z")), ("b", ("x", "y")), ("c", ("x", "y", "z", "w"))))
    table = make_table(0, space=space, num_tasks=8, latent=2, scale_ratio=3.0)
    assert table.rewards.shape == (8, 24)
    spreads = table.rewards.std(axis=1)
    assert spreads.max() / spreads.min() > 1.5
    np.testing.assert_allclose(np.linalg.norm(table.vectors, axis=1), 1)
    np.testing.assert_array_equal(make_table(5).rewards, make_table(5).rewards)
    assert (make_table(5).rewards != make_table(6).rewards).any()


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="must add up to 1"):
        Shares(noise=0.2)
    with pytest.raises(ValueError, match="more than latent"):
        make_table(0, num_tasks=5)
    with pytest.raises(ValueError, match="at least latent"):
        make_table(0, vector_dim=3)
