"""`simpath evaluate --keep-networks` and `simpath classify`, from a folder of pictures to a CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from pipelines.commands import backbones, networks
from pipelines.usage import UsageError
from transfer.pathways.config import BlockDropOptions
from transfer.pathways.options import TrainingOptions


def write_pictures(folder: Path, level: int, count: int) -> None:
    rng = np.random.default_rng(level)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray((level + rng.integers(0, 40, (18, 18, 3))).astype(np.uint8)).save(folder / f"{i:03d}.png")


def train(tmp_path: Path, method: backbones.Method) -> Path:
    """The kept network of one seed."""
    for part, count in (("train", 12), ("test", 4)):
        for level in (40, 200):
            write_pictures(tmp_path / "task" / part / str(level), level, count)
    given: dict[str, Any] = {"training": TrainingOptions(l2_penalties=(1.0,))}
    if method == "blockdrop":
        dropping = BlockDropOptions(curriculum_updates=2, joint_updates=1, penalties=(2.0,), policy_shrink=1)
        training = TrainingOptions(batch_size=8, learning_rates=(0.05,))
        given = {"epochs": 1, "blockdrop": dropping, "training": training}
    status = backbones.evaluate(
        "random:cifar_resnet8",
        str(tmp_path / "task"),
        out=tmp_path / "out",
        method=method,
        size=16,
        seeds=(0,),
        threads=1,
        keep_networks=True,
        **given,
    )
    assert status == 0
    return tmp_path / "out" / method / "networks" / "seed=0.safetensors"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pictures_are_classified_as_in_the_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, out = train(tmp_path, "blockdrop"), tmp_path / "found.csv"
    capsys.readouterr()
    assert networks.classify(network, tmp_path / "task" / "test", out, threads=1) == 0
    said = capsys.readouterr().out.splitlines()
    rows, run = rows_of(out), load_file(network.parents[1] / "predictions.safetensors")
    assert [row["image"] for row in rows] == [f"{level}/{i:03d}.png" for level in (200, 40) for i in range(4)]
    classes = json.loads((network.parents[1] / "summary.json").read_text(encoding="utf-8"))["classes"]
    assert [row["class"] for row in rows] == [classes[label] for label in run["prediction"][0]]
    assert [int(row["blocks_kept"]) for row in rows] == run["policy"][0].sum(1).tolist()
    assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    line = json.loads(said[-1])
    row = json.loads((network.parents[1] / "summary.json").read_text(encoding="utf-8"))["per_seed"][0]
    assert (line["images"], line["method"], line["task"]) == (8, "blockdrop", "task")
    assert {key: line[key] for key in ("flops_plain", "flops_policy")} == {
        key: row[key] for key in ("flops_plain", "flops_policy")
    }
    assert line["flops_network"] == pytest.approx(row["flops_network"])


def test_one_picture_and_pictures_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, out = train(tmp_path, "feature_extractor"), tmp_path / "found.csv"
    assert networks.classify(network, tmp_path / "task" / "test" / "40" / "000.png", out, threads=1) == 0
    (row,) = rows_of(out)
    assert set(row) == {"image", "class", "probability"} and (row["image"], row["class"]) == ("000.png", "40")
    write_pictures(tmp_path / "many", 200, 9)
    (tmp_path / "many" / "torn.png").write_bytes(b"no picture")
    capsys.readouterr()
    assert networks.classify(network, tmp_path / "many", out, threads=1) == 3
    said = capsys.readouterr().out
    assert len(rows_of(out)) == 9 and {row["class"] for row in rows_of(out)} == {"200"}
    assert "unreadable images that were skipped: 1\n  torn.png" in said


def test_what_cannot_be_classified_leaves_the_csv_as_it_was(tmp_path: Path) -> None:
    network, out = train(tmp_path, "feature_extractor"), tmp_path / "found.csv"
    out.write_text("mine\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes(b"no picture")
    with pytest.raises(FileNotFoundError, match=r"images .*absent: no such file or folder"):
        networks.classify(network, tmp_path / "absent", out)
    with pytest.raises(ValueError, match=r"images .*empty: the folder holds no image"):
        networks.classify(network, tmp_path / "empty", out)
    with pytest.raises(ValueError, match=r"1 of 1 images cannot be decoded, first a\.png"):
        networks.classify(network, tmp_path / "torn", out)
    with pytest.raises(FileNotFoundError, match=r"network .*absent: no such file"):
        networks.classify(tmp_path / "absent", tmp_path / "task", out)
    picture = tmp_path / "task" / "test" / "40" / "000.png"
    for place, images in ((network, tmp_path / "task"), (picture, tmp_path / "task"), (picture, picture)):
        before = place.read_bytes()
        with pytest.raises(ValueError, match=r"out .* is the network or one of the images; choose another file"):
            networks.classify(network, images, place)
        assert place.read_bytes() == before
    (tmp_path / "link.csv").symlink_to(out)
    for place, kind in ((tmp_path / "link.csv", "a link"), (tmp_path, "a folder"), (Path("/dev/null"), "no regular")):
        with pytest.raises(ValueError, match=f"out .* is {kind}.*; allowed: a new file, or a regular one"):
            networks.classify(network, picture, place)
    assert out.read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize("method", ["knn", "finetune", "lesion"])
def test_methods_that_keep_no_networks_say_so(method: backbones.Method, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--keep-networks is no option of {method}; it belongs to feature_extractor"):
        backbones.evaluate("random:cifar_resnet8", "absent", out=tmp_path, method=method, keep_networks=True)


def test_keeping_networks_needs_a_place() -> None:
    with pytest.raises(UsageError, match="--keep-networks leaves files in --out, which is missing"):
        backbones.evaluate("random:cifar_resnet8", "absent", method="standard", keep_networks=True)
