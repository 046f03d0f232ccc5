from __future__ import annotations

import numpy as np
import pytest

from pretrain.order import epoch_order, plan_batches, rank_slice, steps_per_epoch


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch_only() -> None:
    order = epoch_order(3, 5, 100)
    assert sorted(order.tolist()) == list(range(100))
    assert np.array_equal(order, epoch_order(3, 5, 100))
    assert not np.array_equal(order, epoch_order(3, 6, 100))
    assert not np.array_equal(order, epoch_order(4, 5, 100))


def global_batches(world: int, unit: int, start: int = 0) -> list[list[int]]:
    ranks = [
        list(
            plan_batches(
                num_samples=50, batch_size=12, seed=1, start=start, stop=9, rank=rank, world_size=world, unit=unit
            )
        )
        for rank in range(world)
    ]
    return [[index for plan in plans for index in plan.indices.tolist()] for plans in zip(*ranks, strict=True)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("unit", [1, 2])
def test_any_world_size_sees_the_same_global_batches(world: int, unit: int) -> None:
    assert len(global_batches(1, 1)) == 9
    assert global_batches(world, unit) == global_batches(1, 1)


def test_a_resume_continues_where_the_run_stopped() -> None:
    assert global_batches(2, 2, start=5) == global_batches(1, 1)[5:]


def test_each_epoch_drops_the_last_partial_batch() -> None:
    assert steps_per_epoch(50, 12) == 4
    first_epoch = [index for batch in global_batches(1, 1)[:4] for index in batch]
    assert len(set(first_epoch)) == 48


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_pairs_stay_together(world: int) -> None:
    cuts = [rank_slice(14, rank, world, 2) for rank in range(world)]
    assert cuts[0].start == 0
    assert cuts[-1].stop == 14
    assert all(cut.start % 2 == 0 for cut in cuts)
    assert [a.stop for a in cuts[:-1]] == [b.start for b in cuts[1:]]


def test_a_batch_smaller_than_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="a global batch of 3 has 3 images, too few for 4 ranks"):
        rank_slice(3, 0, 4, 1)
    with pytest.raises(ValueError, match="3 pairs of images, too few for 4 ranks"):
        rank_slice(6, 0, 4, 2)
    with pytest.raises(ValueError, match="must be even"):
        rank_slice(7, 0, 1, 2)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 64 is more than the 50 images"):
        steps_per_epoch(50, 64)
