"""Weighted k-NN against a slow rewrite and the hand-made cases of the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from transfer.knn import TEMPERATURE, knn_predict


def slow_votes(gallery: np.ndarray, labels: np.ndarray, query: np.ndarray, k: int, classes: int) -> np.ndarray:
    similarity = [float(g @ query) / math.sqrt(float(g @ g) * float(query @ query)) for g in gallery]
    votes = np.zeros(classes)
    for i in sorted(range(len(gallery)), key=lambda i: -similarity[i])[:k]:
        votes[labels[i]] += math.exp(similarity[i] / TEMPERATURE)
    return votes / votes.sum()


@pytest.mark.parametrize("k", [1, 5, 20, 200])
def test_votes_equal_a_slow_rewrite(k: int) -> None:
    rng = np.random.default_rng(k)
    gallery, queries = rng.normal(size=(80, 16)), rng.normal(size=(30, 16))
    labels = rng.integers(0, 6, 80)
    votes = knn_predict(
        torch.tensor(gallery), torch.tensor(labels), torch.tensor(queries), k=k, num_classes=6, block_bytes=4 * 80 * 7
    ).numpy()
    expected = np.stack([slow_votes(gallery, labels, query, min(k, 80), 6) for query in queries])
    np.testing.assert_allclose(votes / votes.sum(axis=1, keepdims=True), expected, rtol=2e-4, atol=1e-5)


def test_with_one_neighbour_the_gallery_classifies_itself() -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 8)))
    labels = torch.arange(50) % 7
    assert torch.equal(knn_predict(features, labels, features, k=1).argmax(1), labels)


def test_the_length_of_a_feature_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = torch.from_numpy(rng.normal(size=(40, 8))), torch.from_numpy(rng.normal(size=(10, 8)))
    labels = torch.arange(40) % 3
    lengths = torch.from_numpy(rng.uniform(0.1, 10, (40, 1)))
    torch.testing.assert_close(
        knn_predict(gallery, labels, queries), knn_predict(gallery * lengths, labels, queries * 3), rtol=1e-4, atol=1e-5
    )


def test_two_neighbours_tie_with_one_that_is_nearer_by_t_log_two() -> None:
    similarity = 0.6
    nearer = similarity + TEMPERATURE * math.log(2)
    gallery = torch.tensor([[s, math.sqrt(1 - s * s)] for s in (similarity, similarity, nearer)], dtype=torch.float64)
    votes = knn_predict(gallery, torch.tensor([0, 0, 1]), torch.tensor([[1.0, 0.0]]), k=3)
    assert float(votes[0, 0]) == pytest.approx(float(votes[0, 1]), rel=1e-5)


def test_blocks_and_order_of_queries_do_not_matter_and_one_query_works() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = torch.from_numpy(rng.normal(size=(64, 8))), torch.from_numpy(rng.normal(size=(33, 8)))
    labels = torch.arange(64) % 5
    whole = knn_predict(gallery, labels, queries)
    torch.testing.assert_close(whole, knn_predict(gallery, labels, queries, block_bytes=4 * 64 * 4))
    order = torch.from_numpy(rng.permutation(33))
    torch.testing.assert_close(whole[order], knn_predict(gallery, labels, queries[order]))
    torch.testing.assert_close(whole[:1], knn_predict(gallery, labels, queries[:1]))
