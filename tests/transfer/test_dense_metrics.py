"""Dense metrics against values known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer.dense.metrics import (
    IGNORED,
    NO_VALUE,
    CosineMeter,
    CrossEntropyMeter,
    DepthMeter,
    DistanceMeter,
    NormalsMeter,
    SegmentationMeter,
    angles_deg,
    measure,
    relative_improvement,
)


def _labels(seed: int, *shape: int, classes: int = 4) -> Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


def _vectors(seed: int, *shape: int) -> Tensor:
    vectors = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_a_perfect_segmentation_scores_100() -> None:
    label = _labels(0, 2, 5, 6)
    assert measure(SegmentationMeter(4), [(label, label)]) == {"miou": 100.0, "pixel_accuracy": 100.0}


def test_logits_count_as_their_largest_class() -> None:
    label = _labels(0, 2, 5, 6)
    logits = torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    assert measure(SegmentationMeter(4), [(logits, label)])["miou"] == 100


def test_a_class_in_neither_labels_nor_predictions_is_left_out() -> None:
    label = torch.tensor([[[0, 0, 1, 1]]])
    assert measure(SegmentationMeter(9), [(label, label)])["miou"] == 100


def test_a_class_without_true_positive_lowers_miou_unless_the_original_is_copied() -> None:
    label = torch.tensor([[[0, 0, 0, 1]]])
    predicted = torch.zeros_like(label)
    assert measure(SegmentationMeter(2), [(predicted, label)])["miou"] == pytest.approx(37.5)
    assert measure(SegmentationMeter(2, drop_zero_tp=True), [(predicted, label)])["miou"] == pytest.approx(75)


def test_ignored_pixels_never_count() -> None:
    label, predicted = _labels(0, 1, 8, 8), _labels(1, 1, 8, 8)
    hidden = label.clone()
    hidden[:, :4] = IGNORED
    seen = measure(SegmentationMeter(4), [(predicted[:, 4:], label[:, 4:])])
    assert measure(SegmentationMeter(4), [(predicted, hidden)]) == seen


def test_a_label_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="label 7; allowed: 0 to 3"):
        SegmentationMeter(4).per_image(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 7))


@pytest.mark.parametrize("batch", [1, 3, 6])
def test_batches_of_any_size_give_the_pooled_result(batch: int) -> None:
    label, predicted = _labels(0, 6, 7, 5), _labels(1, 6, 7, 5)
    parts = zip(predicted.split(batch), label.split(batch), strict=True)
    matrix = np.zeros((4, 4))
    for true, guess in zip(label.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        matrix[true, guess] += 1
    expected = [matrix[c, c] / (matrix[c].sum() + matrix[:, c].sum() - matrix[c, c]) for c in range(4)]
    assert measure(SegmentationMeter(4), parts)["miou"] == pytest.approx(100 * np.mean(expected))


def test_depth_of_a_perfect_prediction() -> None:
    depth = torch.rand(2, 1, 4, 4) + 0.5
    expected = {"abs": 0, "rel": 0, "delta1": 100, "delta2": 100, "delta3": 100}
    assert measure(DepthMeter(), [(depth, depth)]) == expected


@pytest.mark.parametrize(("scale", "rel", "deltas"), [(1.2, 0.2, (100, 100, 100)), (1.3, 0.3, (0, 100, 100))])
def test_depth_that_is_too_large_by_a_factor(scale: float, rel: float, deltas: tuple[float, ...]) -> None:
    depth = torch.rand(2, 1, 4, 4, dtype=torch.float64) + 0.5
    values = measure(DepthMeter(), [(depth * scale, depth)])
    assert values["rel"] == pytest.approx(rel)
    assert (values["delta1"], values["delta2"], values["delta3"]) == deltas


def test_depth_that_is_not_positive_fails_every_threshold() -> None:
    depth = torch.ones(1, 1, 2, 2)
    predicted = torch.tensor([[[[1.0, -1.0], [0.0, 1.0]]]])
    values = measure(DepthMeter(), [(predicted, depth)])
    assert (values["delta1"], values["delta3"], values["abs"]) == (50, 50, 0.75)


def test_depth_without_a_measurement_does_not_count() -> None:
    depth, predicted = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 1.1)
    holes = depth.clone()
    holes[..., 0] = 0
    predicted[..., 0] = -50
    assert measure(DepthMeter(), [(predicted, holes)])["abs"] == pytest.approx(0.1)
    assert math.isnan(measure(DepthMeter(), [(predicted, torch.zeros_like(depth))])["abs"])


@pytest.mark.parametrize(("other", "angle"), [((0, 0, 1), 0), ((0, 0, -1), 180), ((1, 0, 0), 90)])
def test_angles_of_known_pairs(other: tuple[float, ...], angle: float) -> None:
    label = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    predicted = 3 * torch.tensor(other, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    values = measure(NormalsMeter(), [(predicted, label)])
    assert values["mean"] == pytest.approx(angle, abs=1e-5)
    assert values["median"] == pytest.approx(angle, abs=0.051)
    assert values["within_30"] == (100 if angle == 0 else 0)


@pytest.mark.parametrize(("offset", "share"), [(-1e-3, 100), (1e-3, 0)])
def test_the_first_threshold_flips_at_11_25_degrees(offset: float, share: float) -> None:
    turn = math.radians(11.25 + offset)
    label = torch.tensor([0.0, 0, 1], dtype=torch.float64).view(1, 3, 1, 1)
    predicted = torch.tensor([math.sin(turn), 0, math.cos(turn)], dtype=torch.float64).view(1, 3, 1, 1)
    assert measure(NormalsMeter(), [(predicted, label)])["within_11.25"] == share


def test_the_length_of_a_predicted_normal_does_not_matter() -> None:
    label, predicted = _vectors(0, 2, 3, 6, 6), _vectors(1, 2, 3, 6, 6)
    short, long = (measure(NormalsMeter(), [(predicted * scale, label)]) for scale in (0.01, 100.0))
    assert short == pytest.approx(long, abs=1e-4)


def test_the_median_of_the_histogram_is_the_median_of_all_pixels() -> None:
    label, predicted = _vectors(0, 4, 3, 16, 16), _vectors(1, 4, 3, 16, 16)
    exact = float(angles_deg(predicted, label).median())
    values = measure(NormalsMeter(), zip(predicted.split(1), label.split(1), strict=True))
    assert values["median"] == pytest.approx(exact, abs=0.15)
    assert values["mean"] == pytest.approx(float(angles_deg(predicted, label).mean()))


def test_normals_without_a_label_do_not_count() -> None:
    label, predicted = _vectors(0, 1, 3, 4, 4), _vectors(0, 1, 3, 4, 4)
    label[:, :, :2], predicted[:, :, :2] = 0, -1
    assert measure(NormalsMeter(), [(predicted, label)])["mean"] == pytest.approx(0, abs=1e-2)


def test_bytes_of_a_picture_compress_the_angles() -> None:
    label = _vectors(0, 1, 3, 64, 64)
    guess = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand_as(label)
    decoded = measure(NormalsMeter(), [(guess, label)])["mean"]
    raw = measure(NormalsMeter(space="uint8"), [((guess + 1) / 2, label)])["mean"]
    assert decoded == pytest.approx(90, abs=2)
    assert 2 < decoded / raw < 3


def test_distance_counts_valid_pixels_only() -> None:
    label = torch.tensor([[[[-1.0, 0.5], [NO_VALUE, NO_VALUE]]]])
    assert measure(DistanceMeter(), [(torch.zeros_like(label), label)])["l1"] == 0.75


def test_taskonomy_measures_losses() -> None:
    label = _vectors(0, 1, 3, 4, 4)
    assert measure(CosineMeter(), [(5 * label, label)])["cosine"] == pytest.approx(1)
    classes = torch.tensor([[[0, 1, IGNORED]]])
    weights = torch.tensor([1.0, 3.0])
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 0, 0, 1] = 2.0
    expected = torch.nn.functional.cross_entropy(logits, classes, weight=weights, ignore_index=IGNORED)
    values = measure(CrossEntropyMeter(weights), [(logits, classes)])
    assert values["cross_entropy"] == pytest.approx(float(expected))


SINGLE = {"miou": 27.5, "acc": 58.9, "mean": 17.5, "median": 15.2, "w11": 34.9, "w22": 73.3, "w30": 85.7}
SINGLE |= {"abs": 0.62, "rel": 0.25, "d1": 57.9, "d2": 85.8, "d3": 95.7}
GROUPS = {
    "seg": {"miou": True, "acc": True},
    "normals": {"mean": False, "median": False, "w11": True, "w22": True, "w30": True},
    "depth": {"abs": False, "rel": False, "d1": True, "d2": True, "d3": True},
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((24.1, 57.2, 16.6, 13.4, 42.5, 73.2, 84.6, 0.58, 0.23, 62.4, 88.2, 96.5), (-7.62, 7.47, 5.17, 1.67)),
        ((25.4, 57.6, 17.2, 14.0, 41.4, 70.5, 82.9, 0.58, 0.23, 61.4, 88.4, 95.5), (-4.92, 4.23, 4.66, 1.32)),
        ((23.8, 56.9, 17.2, 14.4, 38.9, 71.8, 83.9, 0.58, 0.24, 61.9, 88.1, 96.3), (-8.43, 2.86, 4.13, -0.48)),
        ((21.6, 53.9, 17.1, 14.5, 37.4, 73.7, 85.6, 0.66, 0.26, 55.7, 83.7, 94.8), (-14.97, 2.90, -3.53, -5.20)),
        ((26.0, 57.2, 16.6, 13.0, 43.7, 73.3, 84.4, 0.57, 0.25, 62.7, 87.7, 95.9), (-4.17, 8.66, 3.76, 2.75)),
        ((30.2, 62.4, 16.6, 12.9, 45.0, 71.7, 83.0, 0.55, 0.20, 64.5, 90.5, 97.8), (7.88, 8.78, 10.07, 8.91)),
    ],
)
def test_relative_improvements_of_the_published_table(row: tuple[float, ...], expected: tuple[float, ...]) -> None:
    metrics = dict(zip(SINGLE, row, strict=True))
    changes = [relative_improvement(metrics, SINGLE, group) for group in GROUPS.values()]
    assert [*changes, float(np.mean(changes))] == pytest.approx(expected, abs=0.006)


def _delta_t(
    names: str, groups: dict[str, dict[str, bool]], single: tuple[float, ...], row: tuple[float, ...]
) -> list[float]:
    """Delta_Tk of every group, then Delta_T."""
    reference, metrics = (dict(zip(names.split(), values, strict=True)) for values in (single, row))
    changes = [relative_improvement(metrics, reference, group) for group in groups.values()]
    return [*changes, float(np.mean(changes))]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((37.7, 73.8, 0.018, 0.34, 72.4, 88.3, 94.2), (-3.71, -0.53, -2.12)),
        ((40.3, 74.3, 0.015, 0.30, 74.2, 89.3, 94.9), (-0.14, 6.32, 3.09)),
        ((39.8, 74.2, 0.016, 0.31, 73.0, 88.8, 94.6), (-0.83, 4.01, 1.59)),
        ((41.5, 74.2, 0.017, 0.31, 74.0, 89.3, 94.8), (1.28, 3.28, 2.28)),
        ((40.8, 74.3, 0.015, 0.32, 75.1, 89.3, 94.6), (0.48, 5.30, 2.89)),
        ((41.5, 74.9, 0.016, 0.33, 75.5, 89.8, 94.9), (1.75, 3.81, 2.78)),
    ],
)
def test_relative_improvements_of_the_cityscapes_table(row: tuple[float, ...], expected: tuple[float, ...]) -> None:
    groups = {"seg": GROUPS["seg"], "depth": GROUPS["depth"]}
    single = (40.2, 74.7, 0.017, 0.33, 70.3, 86.3, 93.3)
    assert _delta_t("miou acc abs rel d1 d2 d3", groups, single, row) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((0.587, 0.702, 0.024, 0.194, 0.201), -1.03),
        ((0.560, 0.684, 0.022, 0.202, 0.219), -1.30),
        ((0.610, 0.702, 0.023, 0.192, 0.198), -0.44),
        ((0.539, 0.705, 0.024, 0.194, 0.206), 0.25),
        ((0.637, 0.702, 0.023, 0.193, 0.203), -1.95),
        ((0.566, 0.707, 0.025, 0.192, 0.193), -0.11),
    ],
)
def test_relative_improvements_of_the_taskonomy_table(row: tuple[float, ...], expected: float) -> None:
    groups = {name: {name: name == "sn"} for name in ("seg", "sn", "depth", "kp", "edge")}
    single = (0.575, 0.707, 0.022, 0.197, 0.212)
    assert _delta_t("seg sn depth kp edge", groups, single, row)[-1] == pytest.approx(expected, abs=0.006)


def test_nothing_improves_on_itself_and_lower_is_better_flips_the_sign() -> None:
    assert relative_improvement(SINGLE, SINGLE, GROUPS["depth"]) == 0
    assert relative_improvement({"abs": 0.5}, {"abs": 1.0}, {"abs": False}) == 50
    assert relative_improvement({"abs": 0.5}, {"abs": 1.0}, {"abs": True}) == -50


def test_an_improvement_needs_both_sides() -> None:
    with pytest.raises(ValueError, match="no miou"):
        relative_improvement({}, {"miou": 1.0}, {"miou": True})


def test_a_metric_without_reference_is_left_out() -> None:
    better, reference = {"abs": 0.5, "delta1": 3.0}, {"abs": 1.0, "delta1": 0.0}
    assert relative_improvement(better, reference, {"abs": False, "delta1": True}) == 50
    with pytest.raises(ValueError, match="reference is 0 in delta1"):
        relative_improvement(better, reference, {"delta1": True})
