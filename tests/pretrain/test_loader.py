"""Batches from the shards: equal for any number of workers and ranks, and bad images by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pretrain.augment import Augmentation
from pretrain.data import open_shards
from pretrain.loader import Batch, ImageSource, load_batches
from pretrain.order import plan_batches

MakeSet = Callable[..., Path]


def batches(data: Path, workers: int, rank: int = 0, world_size: int = 1) -> list[Batch]:
    """Six global batches of eight, two epochs of 24 images, with every random augmentation."""
    shards = open_shards(data)
    source = ImageSource(shards, Augmentation(16, grayscale=0.3, rand_augment="rand-m9-mstd0.5-inc1"), seed=1)
    plans = plan_batches(
        num_samples=len(shards), batch_size=8, seed=1, start=0, stop=6, rank=rank, world_size=world_size, unit=2
    )
    return list(load_batches(source, plans, workers=workers))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("workers", "world_size"), [(0, 3), (1, 1), (1, 4), (2, 1), (2, 3), (3, 1), (3, 2), (4, 1), (4, 4)]
)
def test_workers_and_ranks_see_the_same_batches(make_set: MakeSet, workers: int, world_size: int) -> None:
    data = make_set(size=20)
    wanted = batches(data, workers=0)
    assert [(batch.step, batch.epoch) for batch in wanted] == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]
    assert not torch.equal(wanted[0].images, wanted[3].images)
    ranks = [batches(data, workers, rank, world_size) for rank in range(world_size)]
    for number, whole in enumerate(wanted):
        shares = [rank[number] for rank in ranks]
        assert torch.equal(torch.cat([share.images for share in shares]), whole.images)
        assert torch.equal(torch.cat([share.labels for share in shares]), whole.labels)
        assert [index for share in shares for index in share.indices.tolist()] == whole.indices.tolist()
    assert {len(rank) for rank in ranks} == {6}


@pytest.mark.parametrize("workers", [0, 1])
def test_an_animation_named_as_a_picture_is_refused_by_shard_and_key(make_set: MakeSet, workers: int) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "green")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    data = make_set(replace={"00000012.jpg": buffer.getvalue()})
    with pytest.raises(ValueError, match=r"^shard-000001\.tar: 00000012: .* it holds 3 frames$"):
        batches(data, workers)
