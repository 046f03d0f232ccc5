"""Other people's readers on our shards, and ours beside them."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain.data import open_shards

MakeSet = Callable[..., Path]


# webdataset leaves its files to the garbage collector
unclosed = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@unclosed
def test_webdataset_reads_the_same_samples(make_set: MakeSet) -> None:
    import webdataset

    directory = make_set()
    shards = open_shards(directory)
    urls = [str(path) for path in sorted(directory.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("__key__", "jpg", "cls"))
    assert len(samples) == 24
    assert [key for key, _, _ in samples] == [key.decode() for key in shards.keys.tolist()]
    assert [label for _, _, label in samples] == shards.label.tolist()
    assert all(np.asarray(image).shape == (16, 16, 3) for _, image, _ in samples)
    gc.collect()


@unclosed
def test_timm_reads_the_directory_as_it_is(make_set: MakeSet) -> None:
    from timm.data import create_dataset

    directory = make_set()
    index = json.loads((directory / "index.json").read_text())
    names = [row["name"] for row in index["shards"]]
    split = {"name": "train", "filenames": names, "shard_lengths": [10, 10, 4], "num_samples": 24}
    (directory / "_info.json").write_text(json.dumps({"splits": {"train": split}}))
    dataset = create_dataset("wds/", root=str(directory), split="train", batch_size=1, input_img_mode="RGB")
    found = sorted(int(label) for _, label in dataset)
    assert found == sorted(open_shards(directory).label.tolist())
    del dataset
    gc.collect()
