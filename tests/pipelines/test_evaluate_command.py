"""`simpath evaluate`: which protocol it follows on which task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipelines.commands.backbones as backbones
import pipelines.commands.pretraining as pretraining
from pipelines.usage import UsageError
from transfer.pathways.config import BlockDropOptions, SpotTuneOptions
from transfer.pathways.options import TrainingOptions
from transfer.tasks import load_task


@pytest.mark.parametrize(("limit", "selection"), [(100, "cv"), (10, "val")])
def test_the_probe_sweeps_all_values_and_cross_validates_only_small_tasks(
    tmp_path: Path, limit: int, selection: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones, "CROSS_VALIDATED", limit)
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 4)):
        for level in (40, 200):
            for i in range(count):
                path = tmp_path / "task" / part / str(level) / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((level + rng.integers(0, 40, (16, 16, 3))).astype(np.uint8)).save(path)
    out = tmp_path / "out"
    assert backbones.evaluate("random:test_resnet:0", str(tmp_path / "task"), out=out, size=16, resize=16) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["n_train"] == 16 and line["n_test"] == 8 and line["score"] > 90
    config = json.loads((out / "linear" / "summary.json").read_text(encoding="utf-8"))["config"]
    assert config["selection"] == selection and config["sweep"] == "full"


def write_task(folder: Path, train: int, test: int, *, side: int = 32, rare: int | None = None) -> None:
    """Dark and bright pictures; of the bright ones in training only `rare`."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for level in (40, 200):
            for i in range(rare if rare is not None and part == "train" and level == 200 else count):
                path = folder / part / str(level) / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((level + rng.integers(0, 40, (side, side, 3))).astype(np.uint8)).save(path)


@pytest.mark.parametrize("method", ["knn", "linear", "linear_sgd", "finetune"])
@pytest.mark.parametrize("precision", ["bf16", "fp32", None])
def test_every_method_takes_a_precision_and_says_metrics_and_skipped_images(
    tmp_path: Path, method: backbones.Method, precision: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    task, out = tmp_path / "task", tmp_path / "out"
    write_task(task, 20, 6, rare=8)
    (task / "train" / "40" / "0.png").write_bytes(b"broken")
    given: dict[str, Any] = {"epochs": 2} if method in ("linear_sgd", "finetune") else {}
    given |= {"method": method, "size": 40, "resize": 40, "precision": precision, "out": out}
    with pytest.raises(ValueError, match="1 of 28 train images are unreadable"):
        backbones.evaluate("random:test_resnet", str(task), **{**given, "out": tmp_path / "strict"})
    assert backbones.evaluate("random:test_resnet", str(task), max_unreadable=0.1, **given) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("mean per class (balanced accuracy): ") for line in said)
    assert said.index("unreadable images that were skipped: 1") + 1 == next(
        number for number, line in enumerate(said) if line.startswith("  train/40/0.png (train): ")
    )
    line = json.loads(said[-1])
    assert list(line) == ["task", "method", "metric", "score", "ci95", "n_train", "n_test", "seeds"]
    assert line["method"] == method and line["n_test"] == 12
    folder = out / ("features" if method in ("knn", "linear") else method)
    config = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["config"]
    default = "fp32" if method in ("knn", "linear") else "bf16"
    assert config["precision"] == (precision or default) and config["max_unreadable"] == 0.1


@pytest.mark.parametrize("method", ["knn", "finetune", "feature_extractor"])
def test_the_seed_of_the_split_is_an_option_of_its_own_and_stands_in_the_result(
    tmp_path: Path, method: backbones.Method, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task(tmp_path / "both", 8, 6)
    task = tmp_path / "both" / "train"  # class folders only: the split is made
    given: dict[str, Any] = {"method": method, "size": 32, "resize": 32}
    given |= {"epochs": 1, "precision": "fp32"} if method == "finetune" else {}
    given |= {"seeds": (0,)} if method == "feature_extractor" else {}
    arch = "cifar_resnet8" if method == "feature_extractor" else "test_resnet"
    indices, lines = [], []
    for number, seeds in enumerate(({}, {"seed": 1}, {"split_seed": 1})):
        if method == "feature_extractor" and "seed" in seeds:
            continue
        out = tmp_path / str(number)
        assert backbones.evaluate(f"random:{arch}", str(task), out=out, **given, **seeds) == 0
        lines.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
        folder = out / ("features" if method == "knn" else method)
        indices.append(json.loads((folder / "summary.json").read_text(encoding="utf-8"))["index"])
    assert len(set(indices[:-1])) == 1 and indices[-1] != indices[0]
    assert lines[-1]["split_seed"] == 1 and all("split_seed" not in line for line in lines[:-1])


@pytest.mark.parametrize("task", ["EuroSAT", "Flowers102:2040", "decathlon:svhn"])
def test_the_split_of_a_named_set_has_no_seed(tmp_path: Path, task: str) -> None:
    with pytest.raises(UsageError, match=f"--split-seed is for data of your own; the split of {task} is fixed"):
        backbones.evaluate("random:resnet18", task, root=tmp_path, split_seed=1)


@pytest.mark.parametrize("method", ["knn", "linear", "finetune", "standard"])
@pytest.mark.parametrize("kind", ["folder", "list"])
def test_the_split_that_data_of_your_own_bring_has_no_seed(tmp_path: Path, method: backbones.Method, kind: str) -> None:
    write_task(tmp_path, 2, 2, side=8)
    rows = [f"{path.relative_to(tmp_path)},{path.parts[-2]},{path.parts[-3]}" for path in tmp_path.rglob("*.png")]
    assert len(rows) == 8
    (tmp_path / "list.csv").write_text("\n".join(["image,label,split", *rows]), encoding="utf-8")
    task = str(tmp_path if kind == "folder" else tmp_path / "list.csv")
    with pytest.raises(UsageError, match=r"--split-seed is for data without a split; \S+ brings its own"):
        backbones.evaluate("random:resnet18", task, method=method, split_seed=1)


@pytest.mark.parametrize("method", ["knn", "linear"])
@pytest.mark.parametrize(("flag", "given"), [("--seeds", {"seeds": (0, 1, 2)}), ("--epochs", {"epochs": 5})])
def test_options_of_training_are_refused_where_nothing_is_trained(
    method: backbones.Method, flag: str, given: dict[str, Any]
) -> None:
    with pytest.raises(
        UsageError, match=f"{flag} is no option of {method}, .* belongs to linear_sgd, finetune, .*, lesion"
    ):
        backbones.evaluate("random:resnet18", "digits", method=method, **given)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("knn", {"k": 0}, "k 0"),
        ("linear", {"pool": "avg"}, "--pool is an option of --stage, which is missing"),
        ("finetune", {"stage": 3}, "--stage is an option of knn and linear alone, not of finetune"),
        ("linear", {"k": 20}, "--k is an option of knn alone, not of linear"),
        ("finetune", {"k": 5}, "--k is an option of knn alone, not of finetune"),
        ("standard", {"k": 20}, "--k is an option of knn alone, not of standard"),
        ("linear", {"size": 4}, "size 4"),
        ("finetune", {"seeds": (0, 1)}, "--seeds has 2 values; finetune trains one network"),
        ("linear_sgd", {"epochs": 0}, "epochs"),
        ("standard", {"seeds": (1, 1)}, r"seeds is \(1, 1\)"),
        ("finetune", {"seeds": (1,), "seed": 2}, "--seed and --seeds both name the seed of finetune"),
        ("knn", {"max_unreadable": 1.0}, "max_unreadable 1.0"),
        ("standard", {"seed": 1}, "--seed is no option of standard"),
        ("spottune", {"max_unreadable": 0.1}, "--max-unreadable is no option of spottune"),
        (
            "standard",
            {"precision": "bf16", "training": TrainingOptions(precision="fp32")},
            "--precision and --training.precision say the same",
        ),
        ("standard", {"spottune": SpotTuneOptions(tau=2.0)}, "is no option of standard"),
    ],
)
def test_a_value_that_a_method_does_not_allow_is_a_usage_error(
    method: backbones.Method, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        backbones.evaluate("random:resnet18", "digits", method=method, **given)


def test_an_unknown_architecture_to_train_is_a_usage_error_before_the_data_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="architecture 'resnet51' is known neither to torchvision nor to timm"):
        pretraining.pretrain("absent", tmp_path / "out", recipe="demo", arch="resnet51")
    assert not (tmp_path / "out").exists()


def write_domain(root: Path) -> None:
    """A Visual Decathlon domain of 12, 6 and 6 images in the challenge's layout."""
    folder = root / "decathlon" / "annotations"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        files, labels = [], []
        for number in range(count):
            level = 40 + 160 * (number % 2)
            array = (level + rng.integers(0, 40, (20, 20, 3))).astype(np.uint8)
            Image.fromarray(array).save(root / "decathlon" / f"{split}{number}.png")
            files.append({"id": number, "file_name": f"{split}{number}.png"})
            labels.append({"image_id": number, "category_id": 1 + number % 2})
        names = [{"id": 1, "name": "no person"}, {"id": 2, "name": "person"}]
        content = {"images": files, "annotations": labels, "categories": names}
        (folder / f"daimlerpedcls_{split}.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_decathlon_domain_is_a_task_of_every_method_and_options_reach_blockdrop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_domain(tmp_path)
    task, out = "decathlon:daimlerpedcls", tmp_path / "out"
    assert backbones.evaluate("random:test_resnet", task, root=tmp_path, method="knn", size=16, resize=16) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["task"], line["n_test"]) == (task, 6) and line["score"] > 90
    assert not out.exists()
    assert (
        backbones.evaluate(
            "random:cifar_resnet8",
            task,
            root=tmp_path,
            out=out,
            method="blockdrop",
            size=16,
            epochs=1,
            seeds=(0,),
            training=TrainingOptions(batch_size=6, learning_rates=(0.05,)),
            blockdrop=BlockDropOptions(curriculum_updates=2, joint_updates=1, penalties=(2.0,), policy_shrink=1),
        )
        == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert json.loads(said[-1])["n_train"] == 18 and f"page  {out / 'report.html'}" in said
    config = json.loads((out / "blockdrop" / "summary.json").read_text(encoding="utf-8"))["config"]
    assert (config["curriculum_updates"], config["joint_updates"], config["penalties"]) == (2, 1, [2.0])
    assert "decathlon:daimlerpedcls" in (out / "report.html").read_text(encoding="utf-8")


def test_what_a_decathlon_task_lacks_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"say where its files lie \(--root ROOT, holding decathlon/annotations/\)"):
        load_task("decathlon:svhn")
    with pytest.raises(ValueError, match="unknown domain 'mnist'; allowed: imagenet12"):
        load_task("decathlon:mnist", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"svhn_train\.json: no such file"):
        load_task("decathlon:svhn", root=tmp_path)
    with pytest.raises(ValueError, match="has no grouped split"):
        load_task("decathlon:svhn", root=tmp_path, split="grouped")
