"""`simpath evaluate` with every method that has a validation part, and with the lesion study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from pipelines.commands import backbones
from pipelines.usage import UsageError
from transfer.pathways.config import METHODS, BlockDropOptions, LesionOptions, SpotTuneOptions
from transfer.pathways.options import TrainingOptions


def write_task(folder: Path) -> None:
    """Dark and bright pictures, twelve of each to train on and four to test."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for level in (40, 200):
            for i in range(count):
                path = folder / part / str(level) / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((level + rng.integers(0, 40, (18, 18, 3))).astype(np.uint8)).save(path)


def test_the_command_names_exactly_the_methods_that_there_are() -> None:
    others = ("knn", "linear", "linear_sgd", "finetune")
    assert get_args(backbones.Method) == (*others, *METHODS) and len(METHODS) == 12


def options_of(method: str) -> dict[str, Any]:
    training = TrainingOptions(batch_size=8, learning_rates=(0.05,))
    given: dict[str, Any] = {"epochs": 1, "training": training}
    if method == "feature_extractor":
        given = {"training": TrainingOptions(l2_penalties=(1.0,))}
    elif method in ("spottune", "spottune_global"):
        given["spottune"] = SpotTuneOptions(policy_shrink=1, **({"global_k": 1} if "global" in method else {}))
    elif method == "blockdrop":
        given["blockdrop"] = BlockDropOptions(curriculum_updates=2, joint_updates=1, penalties=(2.0,), policy_shrink=1)
    elif method == "lesion":
        given["lesion"] = LesionOptions(arch="cifar_resnet20", draws=1)
    return given


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_through_the_command(
    method: backbones.Method, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "task")
    out, given = tmp_path / "out", options_of(method)
    status = backbones.evaluate(
        "random:cifar_resnet8", str(tmp_path / "task"), out=out, method=method, size=16, seeds=(0,), threads=1, **given
    )
    said = capsys.readouterr().out.splitlines()
    line = json.loads(said[-1])
    assert status == 0 and (line["method"], line["n_train"], line["n_test"], line["seeds"]) == (method, 24, 8, 1)
    assert line["ci95"][0] <= line["score"] <= line["ci95"][1]
    config = json.loads((out / method / "summary.json").read_text(encoding="utf-8"))["config"]
    assert config["size"] == 16 and config["seeds"] == [0] and config["epochs"] == (given.get("epochs") or 40)
    assert f"page  {out / 'report.html'}" in said


def test_a_published_set_runs_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("AnnualCrop", "Forest", "River"):
        (tmp_path / "EuroSAT" / "2750" / name).mkdir(parents=True)
        for i in range(10):
            picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
            picture.save(tmp_path / "EuroSAT" / "2750" / name / f"{name}_{i}.jpg")
    given = {"epochs": 1, "seeds": (0, 1), "size": 8, "threads": 1, "spottune": SpotTuneOptions(policy_shrink=1)}
    training = TrainingOptions(batch_size=8, learning_rates=(0.05, 0.01))
    status = backbones.evaluate(
        "random:cifar_resnet8", "EuroSAT", root=tmp_path, method="spottune", training=training, **given
    )
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0 and (line["task"], line["method"], line["metric"]) == ("EuroSAT", "spottune", "accuracy")
    assert (line["n_train"], line["n_test"], line["seeds"]) == (21, 9, 2)  # 70/30 of ten pictures a class


def test_the_lesion_study_says_that_it_does_not_look_at_the_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "task")
    given = options_of("lesion")
    backbones.evaluate(
        "absent.safetensors", str(tmp_path / "task"), method="lesion", size=8, seeds=(0,), threads=1, **given
    )
    assert (
        "note: the lesion study trained networks of its own, the backbone was not looked at" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("method", "given", "flag"),
    [
        ("feature_extractor", {"epochs": 3}, "--epochs"),
        ("feature_extractor", {"training": TrainingOptions(batch_size=8)}, "--training.batch-size"),
        ("random_policy", {"spottune": SpotTuneOptions(tau=1.0)}, "--spottune.tau"),
        ("lesion", {"training": TrainingOptions(freeze_bn=True)}, "--training.freeze-bn"),
    ],
)
def test_an_option_without_effect_is_a_usage_error(
    method: backbones.Method, given: dict[str, Any], flag: str, tmp_path: Path
) -> None:
    write_task(tmp_path / "task")
    with pytest.raises(UsageError, match=f"{flag} is no option of {method}"):
        backbones.evaluate("random:cifar_resnet8", str(tmp_path / "task"), method=method, **given)


def test_results_of_other_commands_in_the_same_place_do_no_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "task")
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text('{"stage": "pretrain"}', encoding="utf-8")
    given: dict[str, Any] = {"size": 16, "seeds": (0,), "threads": 1, **options_of("feature_extractor")}
    run = ("random:cifar_resnet8", str(tmp_path / "task"))
    assert backbones.evaluate(*run, out=out, method="feature_extractor", **given) == 0
    assert (out / "report.html").is_file()
    (out / "torn").mkdir()
    (out / "torn" / "summary.json").write_text("{", encoding="utf-8")
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"torn/summary\.json is not JSON"):
        backbones.evaluate(*run, out=out, method="feature_extractor", **given)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["method"] == "feature_extractor"


def test_damaged_results_are_named(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    given: dict[str, Any] = {"size": 16, "seeds": (0,), "threads": 1, **options_of("feature_extractor")}
    run = ("random:cifar_resnet8", str(tmp_path / "task"))
    assert backbones.evaluate(*run, out=tmp_path / "out", method="feature_extractor", **given) == 0
    for name in ("summary", "identity"):
        (tmp_path / "out" / "feature_extractor" / f"{name}.json").write_text('{"method": ', encoding="utf-8")
        with pytest.raises(ValueError, match=rf"feature_extractor/{name}\.json is damaged: .*; remove its folder"):
            backbones.evaluate(*run, out=tmp_path / "out", method="feature_extractor", **given)


def test_a_resize_of_nothing_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    with pytest.raises(ValueError, match="size 16 and resize 0: need 8 <= size <= resize"):
        backbones.evaluate("random:cifar_resnet8", str(tmp_path / "task"), method="knn", size=16, resize=0)


def test_a_side_that_is_the_default_spelt_out_is_the_same_run(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    training = TrainingOptions(l2_penalties=(1.0,))
    given: dict[str, Any] = {"seeds": (0,), "threads": 1, "training": training, "out": tmp_path / "out"}
    run = ("random:cifar_resnet8", str(tmp_path / "task"))
    for size in (None, 224):
        assert backbones.evaluate(*run, method="feature_extractor", size=size, **given) == 0
