"""Options of the command line become the configuration of the method that has them, and of no other."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from transfer.pathways.config import (
    METHODS,
    BlockDropConfig,
    BlockDropOptions,
    GlobalKConfig,
    LesionOptions,
    PathwayConfig,
    SpotTuneConfig,
    SpotTuneOptions,
    StandardConfig,
)
from transfer.pathways.decathlon import spottune_settings
from transfer.pathways.options import WITHOUT_EFFECT, Options, TrainingOptions, configure

FOLDER = "some/folder"


@pytest.mark.parametrize("method", METHODS)
def test_without_options_every_method_keeps_its_own_values(method: str) -> None:
    config = configure(method, Options(), task=FOLDER, root=None, size=None, epochs=None, seeds=None)
    assert config == METHODS[method]()


def test_every_setting_of_blockdrop_and_spottune_is_an_option() -> None:
    shared = {field.name for field in dataclasses.fields(PathwayConfig)}
    for config, options in ((BlockDropConfig, BlockDropOptions), (SpotTuneConfig, SpotTuneOptions)):
        own = {field.name for field in dataclasses.fields(config)} - shared
        assert len(own) >= 9 and own == {field.name for field in dataclasses.fields(options)}


def test_given_values_arrive() -> None:
    blockdrop = BlockDropOptions(curriculum_updates=7, joint_updates=0, penalties=(3.0,), entropy="one_sided")
    training = TrainingOptions(batch_size=8, learning_rates=(0.2,), freeze_bn=True, milestones=(), precision="bf16")
    config = configure("blockdrop", Options(training, blockdrop=blockdrop), task=FOLDER, root=None, epochs=3)
    assert isinstance(config, BlockDropConfig)
    assert (config.curriculum_updates, config.joint_updates, config.penalties, config.entropy) == (
        7,
        0,
        (3.0,),
        "one_sided",
    )
    assert (config.batch_size, config.learning_rates, config.freeze_bn, config.epochs) == (8, (0.2,), True, 3)
    assert config.milestones == () and config.precision == "bf16" and config.explore == 0.8
    assert configure("lesion", Options(lesion=LesionOptions(draws=3)), task=FOLDER, root=None).draws == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        (
            "standard",
            Options(blockdrop=BlockDropOptions(penalties=(1.0,))),
            "--blockdrop.penalties is no option of standard",
        ),
        (
            "blockdrop",
            Options(spottune=SpotTuneOptions(tau=1.0)),
            "--spottune.tau is no option of blockdrop; it belongs to",
        ),
        ("knn", Options(TrainingOptions(batch_size=4)), "--training.batch-size is no option of knn"),
        ("spottune", Options(lesion=LesionOptions(draws=2)), "it belongs to lesion"),
        ("standard", Options(TrainingOptions(tuned_share=0.3)), "it belongs to stochastic"),
        ("standard", Options(TrainingOptions(l2_sp_weights=(0.3,))), "it belongs to l2sp"),
        ("l2sp", Options(TrainingOptions(l2_penalties=(0.3,))), "it belongs to feature_extractor"),
        (
            "spottune",
            Options(spottune=SpotTuneOptions(global_k_weight=2.0)),
            "--spottune.global-k-weight needs --spottune.global-k",
        ),
    ],
)
def test_an_option_of_another_method_is_refused(method: str, options: Options, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        options.values(method)


GIVEN: dict[str, Any] = {
    "batch_size": 8,
    "learning_rates": (0.2,),
    "weight_decay": 0.0,
    "milestones": (0.1,),
    "augment": "none",
    "freeze_bn": True,
    "freeze_stem": True,
    "policy_learning_rate": 0.5,
    "policy_weight_decay": 0.0,
    "policy_shrink": 1,
    "policy_pretrained": False,
    "policy_initial_tuned": 0.7,
    "tau": 1.0,
    "sample_at_eval": True,
    "global_k": 1,
    "global_k_weight": 2.0,
    "global_k_entropy": 2.0,
}
"""A value for every option that some method would ignore."""


def test_options_without_effect_are_refused_and_the_others_are_not() -> None:
    training, spottune = (
        {field.name for field in dataclasses.fields(kind)} for kind in (TrainingOptions, SpotTuneOptions)
    )
    refused = 0
    for name, value in GIVEN.items():
        options = Options(TrainingOptions(**{name: value})) if name in training else None
        options = options or Options(spottune=SpotTuneOptions(**{name: value}))
        for method in ("feature_extractor", "random_policy", "spottune_global", "lesion"):
            if name in spottune and method in ("feature_extractor", "lesion"):
                continue
            if name in WITHOUT_EFFECT[method]:
                refused += 1
                with pytest.raises(ValueError, match=f"{name.replace('_', '-')} is no option of {method}; it belongs"):
                    options.values(method)
            else:
                assert options.values(method) == {name: value}
    assert refused == 7 + 10 + 1 + 2


def test_the_feature_extractor_has_no_epochs() -> None:
    with pytest.raises(ValueError, match="--epochs is no option of feature_extractor"):
        configure("feature_extractor", Options(), task=FOLDER, root=None, epochs=5)
    assert configure("standard", Options(), task=FOLDER, root=None, epochs=5).epochs == 5


def test_what_the_baselines_choose_among_is_an_option() -> None:
    for method, option, value in (
        ("feature_extractor", "l2_penalties", (3.0,)),
        ("l2sp", "l2_sp_weights", (0.5, 0.05)),
        ("stochastic", "tuned_share", 0.25),
    ):
        given = Options(TrainingOptions(**{option: value}))  # type: ignore[arg-type]
        assert getattr(configure(method, given, task=FOLDER, root=None), option) == value
        wrong = Options(TrainingOptions(**{option: -1.0 if option == "tuned_share" else (0.0,)}))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"{option} is .*; allowed: "):
            configure(method, wrong, task=FOLDER, root=None)


def test_a_value_that_is_not_allowed_is_named() -> None:
    for options in (BlockDropOptions(curriculum_updates=0), BlockDropOptions(penalties=())):
        with pytest.raises(ValueError, match="allowed"):
            configure("blockdrop", Options(blockdrop=options), task=FOLDER, root=None)


@pytest.mark.parametrize(
    ("kind", "field", "value", "allowed"),
    [
        (PathwayConfig, "weight_decay", -1e-4, "at least 0"),
        (PathwayConfig, "weight_decay", float("nan"), "at least 0"),
        (PathwayConfig, "momentum", -0.1, "at least 0"),
        (PathwayConfig, "momentum", 1.0, "below 1"),
        (SpotTuneConfig, "policy_learning_rate", -0.1, "at least 0"),
        (SpotTuneConfig, "policy_weight_decay", -1e-3, "at least 0"),
        (SpotTuneConfig, "global_k_weight", -1.0, "at least 0"),
        (SpotTuneConfig, "global_k_entropy", -0.1, "at least 0"),
        (SpotTuneConfig, "policy_shrink", 33, r"1 to size \(32\)"),
        (BlockDropConfig, "policy_shrink", 33, r"1 to size \(32\)"),
        (BlockDropConfig, "curriculum_learning_rate", -1e-3, "at least 0"),
        (BlockDropConfig, "joint_learning_rate", -1e-4, "at least 0"),
        (BlockDropConfig, "joint_updates", -1, "at least 0"),
        (BlockDropConfig, "entropy_weight", -0.1, "at least 0"),
        (BlockDropConfig, "tolerance", -1.0, "at least 0"),
        (BlockDropConfig, "opening_epochs", 0, "at least 1"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(
    kind: type[PathwayConfig], field: str, value: float, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field} is {value}; allowed: {allowed}$"):
        kind(size=32, **{field: value})  # type: ignore[arg-type]


def write_statistics(root: Path) -> None:
    statistics = {"svhn": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]}}
    (root / "decathlon_mean_std.json").write_text(json.dumps(statistics), encoding="utf-8")


@pytest.mark.parametrize("method", METHODS)
def test_the_decathlon_preset_leaves_every_method_what_makes_it_that_method(method: str, tmp_path: Path) -> None:
    write_statistics(tmp_path)
    preset = Options(TrainingOptions(preset="decathlon"))
    config = configure(method, preset, task="decathlon:svhn", root=tmp_path)
    own, published = METHODS[method](), spottune_settings("svhn", root=tmp_path)
    assert type(config) is type(own)
    fields = [field.name for field in dataclasses.fields(config)]
    changed = {name for name in fields if getattr(config, name) != getattr(own, name)}
    shared = {field.name for field in dataclasses.fields(PathwayConfig)}
    policies = {"policy_shrink", "policy_pretrained", "policy_initial_tuned"}
    of_policies = policies if isinstance(config, SpotTuneConfig) else set()
    assert {"size", "epochs", "learning_rates", "channel_mean"} <= changed <= shared | of_policies
    assert of_policies <= changed and all(getattr(config, name) == getattr(published, name) for name in changed)
    if isinstance(config, SpotTuneConfig):
        assert config.global_k == {"spottune_global": 3}.get(method)


def test_an_option_that_is_given_beats_the_preset_also_where_it_is_the_method_s_default(tmp_path: Path) -> None:
    write_statistics(tmp_path)
    published, own = spottune_settings("svhn", root=tmp_path), SpotTuneConfig()
    options = {
        field.name: (kind, field.default)
        for kind in (TrainingOptions, SpotTuneOptions)
        for field in dataclasses.fields(kind)
    }
    names = [name for name in options if hasattr(own, name) and getattr(own, name) != getattr(published, name)]
    assert len(names) >= 7 and {"policy_shrink", "policy_pretrained", "batch_size", "milestones"} <= set(names)
    for name in names:
        kind, default = options[name]
        assert default is None, f"{name} given as {default} could not be told from not given"
        given = {name: getattr(own, name)}
        training = TrainingOptions(preset="decathlon", **(given if kind is TrainingOptions else {}))
        spottune = SpotTuneOptions(**(given if kind is SpotTuneOptions else {}))
        config = configure("spottune", Options(training, spottune), task="decathlon:svhn", root=tmp_path)
        assert getattr(config, name) == getattr(own, name) != getattr(published, name)


def test_global_k_needs_its_k() -> None:
    with pytest.raises(ValueError, match="global_k is None; allowed: a number of blocks"):
        GlobalKConfig(global_k=None)


def test_the_decathlon_preset_is_the_published_one_and_options_change_it(tmp_path: Path) -> None:
    write_statistics(tmp_path)
    preset = Options(TrainingOptions(preset="decathlon", batch_size=64))
    spottune = configure("spottune", preset, task="decathlon:svhn", root=tmp_path, epochs=5)
    assert isinstance(spottune, SpotTuneConfig)
    assert (spottune.size, spottune.augment, spottune.learning_rates, spottune.policy_pretrained) == (
        72,
        "none",
        (0.1,),
        False,
    )
    assert (spottune.batch_size, spottune.epochs, spottune.channel_mean) == (64, 5, (0.4, 0.5, 0.6))
    standard = configure("standard", preset, task="decathlon:svhn", root=tmp_path)
    assert type(standard) is StandardConfig and (standard.epochs, standard.weight_decay) == (110, 0.0)
    for task, root in (("svhn", tmp_path), ("decathlon:svhn", None)):
        with pytest.raises(ValueError, match="needs --task decathlon:DOMAIN and --root"):
            configure("spottune", preset, task=task, root=root)
