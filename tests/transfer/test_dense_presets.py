"""The ready configurations of dense multi-task learning against the published table."""

from __future__ import annotations

from operator import attrgetter

import pytest

from transfer.dense.config import DEPTHS
from transfer.dense.data import Sampler, Scene, ViewConfig, random_split, scene_set
from transfer.dense.presets import PRESETS

PUBLISHED = ("nyuv2_2", "cityscapes", "nyuv2_3", "taskonomy")


class Nothing:
    """A source that is only counted."""

    def read(self, row: int) -> Scene:
        raise AssertionError("no scene is read")


@pytest.mark.parametrize(
    ("setting", "expected"),  # a row of the table of published hyper-parameters, one value for each of PUBLISHED
    [
        ("network.arch", ("resnet18", "resnet34", "resnet34", "resnet34")),
        (
            "tasks",
            (
                ("segmentation", "normals"),
                ("segmentation", "depth"),
                ("segmentation", "normals", "depth"),
                ("segmentation", "normals", "depth", "keypoints", "edges"),
            ),
        ),
        ("loss_weights", ((1, 20), (1, 20), (1, 20, 3), (1, 3, 2, 7, 7))),
        ("crop", (321, 224, 321, 224)),
        ("batch_size", (16, 16, 16, 16)),
        ("iterations", (20_000, 20_000, 20_000, 30_000)),  # of retraining
        ("adashare.warmup_iterations", (4_000, 4_000, 4_000, 20_000)),
        ("head_learning_rate", (1e-3, 1e-4, 1e-3, 1e-4)),
        ("trunk_learning_rate", (1e-3, 1e-3, 1e-3, 1e-4)),
        ("adashare.sparsity_weight", (0.05, 0.01, 0.001, 0.001)),
        ("adashare.sharing_weight", (0.05, 0.1, 0.05, 0.005)),
        ("learning_rate_factor", (0.5, 0.5, 0.5, 0.3)),
        ("learning_rate_step", (4_000, 4_000, 4_000, 12_000)),
        ("adashare.curriculum_speed", (3, 3, 3, 1)),
        ("weight_decay", (1e-4,) * 4),
        ("adashare.policy_learning_rate", (0.01,) * 4),
        ("adashare.policy_weight_decay", (5e-4,) * 4),
        ("adashare.temperature", (5.0,) * 4),
        ("adashare.temperature_decay", (0.965,) * 4),
        ("adashare.samples", (8,) * 4),
        ("adashare.init", ("equal",) * 4),
    ],
)
def test_presets_hold_the_published_values(setting: str, expected: tuple[object, ...]) -> None:
    assert set(PRESETS) == {*PUBLISHED, "rooms_small"}
    assert tuple(attrgetter(setting)(PRESETS[name]) for name in PUBLISHED) == expected


@pytest.mark.parametrize(
    ("name", "images", "total"),
    [("nyuv2_2", 795, 20_000), ("nyuv2_3", 795, 20_000), ("cityscapes", 2975, 20_000), ("taskonomy", None, 100_000)],
)
def test_presets_learn_their_policy_for_the_published_iterations(name: str, images: int | None, total: int) -> None:
    config, search = PRESETS[name], PRESETS[name].adashare
    if images is None:
        assert search.weight_iterations is not None and search.policy_iterations is not None
        per_round = search.weight_iterations + search.policy_iterations
    else:
        everything = scene_set(Nothing(), [str(number) for number in range(images)])
        train, _ = random_split(everything, config.validation, seed=0)
        parts = random_split(train, 1 - search.weight_part, seed=1)
        view = ViewConfig(16, (1.0, 1.0), False, "metres")
        per_round = sum(Sampler(part, (), view, config.batch_size, (0,)).batches_per_epoch for part in parts)
    assert abs(search.warmup_iterations + search.policy_phases * per_round - total) <= per_round / 2


def test_every_preset_opens_all_blocks() -> None:
    assert len(PRESETS) == 5
    for config in PRESETS.values():
        blocks = sum(DEPTHS[config.network.arch])
        assert config.adashare.opened(config.adashare.policy_phases - 1, blocks) == blocks
