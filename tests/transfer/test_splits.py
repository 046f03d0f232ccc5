"""Splits: exact sizes of the reference, independent of listing order, groups never torn apart."""

from __future__ import annotations

import os

import numpy as np
import pytest

from transfer.splits import (
    IndexRow,
    cross_validation_folds,
    format_index,
    grouped_parts,
    index_digest,
    name_key,
    parse_index,
    stratified_split,
    validation_mask,
)

# Class sizes and the published training sizes (reference datasets.md, section 7).
PUBLISHED = {
    "Resisc45": ([700] * 45, 22_005, 9_495),
    "Omniglot": ([20] * 659, 9_226, 3_954),
    "ISIC": ([1113, 6705, 514, 327, 1099, 115, 142], 7_007, 3_008),
    "ChestX": ([4215, 1093, 3955, 9547, 2139, 2705, 2194], 18_090, 7_758),
    "DeepWeeds": ([1125, 1064, 1031, 1022, 1062, 1009, 1074, 1016, 9106], 12_252, 5_257),
    "Sketch": ([51] * 889 + [50] * 111, 35_000, 15_889),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_reproduces_the_published_sizes(name: str) -> None:
    sizes, train, test = PUBLISHED[name]
    first = stratified_split(np.repeat(np.arange(len(sizes)), sizes), fraction=0.7, seed=0)
    assert (int(first.sum()), int((~first).sum())) == (train, test)


def test_a_split_depends_on_the_seed_and_each_class_only_on_itself() -> None:
    labels = np.repeat([0, 1, 2], 20)
    first = stratified_split(labels, fraction=0.7, seed=0)
    assert np.array_equal(first, stratified_split(labels, fraction=0.7, seed=0))
    assert not np.array_equal(first, stratified_split(labels, fraction=0.7, seed=1))
    without_last = stratified_split(labels[:40], fraction=0.7, seed=0)
    assert np.array_equal(first[:40], without_last)


def test_every_class_keeps_at_least_one_training_image() -> None:
    assert stratified_split(np.array([0, 1, 1, 1, 1]), fraction=0.7, seed=0)[0]


def patients(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    groups = np.repeat(np.arange(300), rng.integers(1, 8, 300))
    labels = rng.choice(4, len(groups), p=[0.5, 0.25, 0.15, 0.1])
    return labels, groups


def test_grouped_parts_tear_no_group_apart_and_keep_the_shares_of_every_class() -> None:
    labels, groups = patients(np.random.default_rng(0))
    parts = grouped_parts(labels, groups, shares=[0.7, 0.3], seed=0)
    assert not set(groups[parts == 0]) & set(groups[parts == 1])
    for label in range(4):
        assert (parts[labels == label] == 0).mean() == pytest.approx(0.7, abs=0.03)
    assert not np.array_equal(parts, grouped_parts(labels, groups, shares=[0.7, 0.3], seed=1))


def test_grouped_parts_do_not_depend_on_the_order_of_the_rows() -> None:
    labels, groups = patients(np.random.default_rng(0))
    shuffle = np.random.default_rng(1).permutation(len(labels))
    parts = grouped_parts(labels, groups, shares=[0.7, 0.3], seed=0)
    assert np.array_equal(parts[shuffle], grouped_parts(labels[shuffle], groups[shuffle], shares=[0.7, 0.3], seed=0))


def test_folds_are_stratified_and_balanced() -> None:
    labels = np.repeat([0, 1, 2], [53, 22, 7])
    folds = cross_validation_folds(labels, folds=5, seed=0)
    counts = np.array([[((labels == c) & (folds == f)).sum() for f in range(5)] for c in range(3)])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    assert counts.sum(axis=0).max() - counts.sum(axis=0).min() <= 1


def test_grouped_folds_tear_no_group_apart() -> None:
    labels, groups = patients(np.random.default_rng(2))
    folds = cross_validation_folds(labels, folds=5, seed=0, groups=groups)
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))
    assert np.bincount(folds, minlength=5).min() > 0.15 * len(labels)


def test_one_image_cannot_be_cross_validated() -> None:
    with pytest.raises(ValueError, match="too few"):
        cross_validation_folds(np.array([0]), folds=5, seed=0)


def test_the_validation_part_is_about_the_share_asked_for() -> None:
    labels = np.repeat([0, 1], 50)
    assert validation_mask(labels, fraction=0.3, seed=0).sum() == pytest.approx(30, abs=2)
    groups = np.repeat(np.arange(25), 4)
    mask = validation_mask(labels, fraction=0.3, seed=0, groups=groups)
    assert mask.sum() == pytest.approx(30, abs=4) and not set(groups[mask]) & set(groups[~mask])


def test_an_index_file_survives_a_round_trip_with_names_in_any_script() -> None:
    rows = [
        IndexRow("train", 0, "Straße", "train/Straße/写真, 1.jpg"),
        IndexRow("val", 1, 'a "b"', "x\ny.png"),
        IndexRow("test", 1, 'a "b"', "ضوء.png"),
    ]
    assert parse_index(format_index(rows)) == rows
    assert len(index_digest(format_index(rows))) == 64


def test_bytes_of_a_name_that_are_no_utf8_can_be_stored() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    text = format_index([IndexRow("train", 0, "x", name), IndexRow("test", 0, "x", "café.png")])
    assert "train,0,x,caf\\udce9.png\n" in text and "test,0,x,café.png\n" in text
    assert len(index_digest(text)) == 64 and len(parse_index(text)) == 2


@pytest.mark.parametrize(
    "text", ["", "a,b\n", "split,label,class,name\ndev,0,a,b\n", "split,label,class,name\ntrain,x,a,b\n"]
)
def test_a_broken_index_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="index file"):
        parse_index(text)


def test_composed_and_decomposed_names_sort_alike() -> None:
    assert name_key("e\u0301.png") == name_key("\u00e9.png")
