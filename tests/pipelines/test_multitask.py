"""The command `simpath multitask` at toy size, and its page from made results."""

from __future__ import annotations

import csv
import inspect
import json
import re
import xml.dom.minidom
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import dense_scenes
import pytest
from PIL import Image

from pipelines.__main__ import build_app
from pipelines.commands.multitask import ADASHARE, multitask
from pipelines.commands.runs import report
from pipelines.multitask import label_of, write_multitask_report
from pipelines.usage import UsageError
from transfer.dense.config import AdaShareConfig, MultitaskConfig, NetworkConfig
from transfer.dense.presets import PRESETS

TASKS = ("segmentation", "depth")
COLUMNS = ["model", "params (trunks)", "params (M)", "GFLOP", "segmentation mIoU", "depth Abs"]
COLUMNS += ["Delta_T (%)", "95 % low", "95 % high"]


TINY = MultitaskConfig(
    layout="nyuv2",
    architectures=("hard", "adashare"),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,), dropout=0.1, init_std=None),
    adashare=AdaShareConfig(
        warmup_iterations=1, policy_phases=8, weight_iterations=1, policy_iterations=1, curriculum_speed=1, samples=1
    ),
    crop=16,
    batch_size=2,
    iterations=2,
    validation=0.25,
)


@pytest.fixture
def nyuv2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made data set in NYUv2's layout; the preset nyuv2_3 is `TINY`."""
    dense_scenes.write_nyuv2(tmp_path / "nyuv2")
    monkeypatch.setitem(PRESETS, "nyuv2_3", TINY)
    return tmp_path / "nyuv2"


def make_result(folder: Path, *, rows: tuple[str, ...] = ("single_task", "hard", "adashare"), **extra: Any) -> None:
    entries = []
    for number, name in enumerate(rows):
        change = {"total": 3.0 - number, "ci95": [1.0 - number, 5.0 - number]}
        entry: dict[str, Any] = {
            "name": name,
            "improvement": {**change, "by_task": {"segmentation": 4.0, "depth": -2.0}},
            "parameters": {"ratio": 1.0, "trunk": 100, "total": 200},
            "flops": {"trunk": 1e8, "total": 2e8 + number * 1e7},
            "runs": [{"seed": seed} for seed in (0, 1)],
        }
        if name.startswith("adashare"):
            entry["over_hard"] = {"total": 1.25, "ci95": [-0.5, 3.0], "by_task": {}}
            for run in entry["runs"]:
                rounds = [{"opened": 2, "score": None, "probabilities": [[0.9, 0.5], [0.8, 0.4]]} for _ in range(3)]
                run |= {"probabilities": [[0.9, 0.5], [0.8, 0.4]], "policy": [[1, 0], [1, 1]], "rounds": rounds}
                run |= {"sample_deltas": [1.0, -0.5], "pruned": {"ratio": 0.75}}
        entries.append(entry)
        picture = folder / "runs" / name / "seed-0" / "predictions.png"
        picture.parent.mkdir(parents=True)
        Image.new("RGB", (664, 400), (90, 120, 60)).save(picture)
    lines = [
        [name, "1.000", "0.2", "0.2", f"{40 + number}.0", f"0.{5 + number}", "-", "-", "-"]
        for number, name in enumerate(rows)
    ]
    summary = {
        "data_set": "rooms",
        "tasks": list(TASKS),
        "n_train": 10,
        "n_validation": 4,
        "n_test": 6,
        "seeds": [0, 1],
        "rows": entries,
        "table": {"columns": COLUMNS, "lines": lines},
        "seconds": 120.0,
        **extra,
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "identity.json").write_text("{}", encoding="utf-8")
    (folder / "table.csv").write_text("", encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """The text of the page by the id of its h2."""
    parts = re.split(r'<h2 id="(\w+)">', page)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_command_trains_and_leaves_table_and_page(
    nyuv2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert multitask(nyuv2, out, preset="nyuv2_3") == 0
    names, *lines = csv.reader((out / "table.csv").read_text(encoding="utf-8").splitlines())
    assert [line[0] for line in lines] == ["single_task", "hard", "adashare"] and "depth Abs" in names
    found = sections((out / "report.html").read_text(encoding="utf-8"))
    assert list(found) == ["improvement", "scores", "policy", "predictions", "made"]
    assert found["policy"].count("<svg") == 3 and "Probability of running each block" in found["policy"]
    assert found["predictions"].count("data:image/") == 3
    printed = capsys.readouterr().out
    assert "| hard | 1.000 |" in printed and f"page  {out / 'report.html'}" in printed


def test_options_replace_the_presets_values(nyuv2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    changed = replace(TINY, batch_size=4, crop=32)
    monkeypatch.setitem(PRESETS, "nyuv2_3", changed)
    words = "--preset nyuv2_3 --architectures hard --tasks depth segmentation --loss-weights 3 1 --iterations 1"
    words += " --batch-size 3 --crop 24 --normals-space uint8 --cityscapes-classes 7 --miou-drop-zero-tp True"
    words += " --list-file nyu_v2.json --scale 0.9 1.1 --flip False --head-learning-rate 0.002"
    words += " --trunk-learning-rate 0.003 --weight-decay 0 --learning-rate-step 5 --learning-rate-factor 0.9"
    words += " --precision bf16 --validation 0.3 --metrics taskonomy --seeds 4 --balancers dtp"
    words += (
        " --network.dropout 0.2 --network.init-std 0.1 --sharing.pad-gate source --sharing.stitch-per-channel False"
    )
    words += " --balance.dtp-focal-gamma 2 --balance.graddrop-leak 0.5 1 --adashare.samples 3"
    words += " --adashare.weight-iterations None --adashare.init random"
    (nyuv2 / "other.json").write_text("{}", encoding="utf-8")
    places = ["--data", str(nyuv2), "--out", str(out)]
    assert build_app().cli(prog="simpath", args=["multitask", *places, *words.split()]) == 0
    given: dict[str, Any] = {"tasks": ["depth", "segmentation"], "loss_weights": [3, 1], "architectures": ["hard"]}
    given |= {"iterations": 1, "batch_size": 3, "crop": 24}
    given |= {"normals_space": "uint8", "cityscapes_classes": 7, "miou_drop_zero_tp": True, "list_file": "nyu_v2.json"}
    given |= {"scale": [0.9, 1.1], "flip": False, "head_learning_rate": 0.002, "trunk_learning_rate": 0.003}
    given |= {"weight_decay": 0, "learning_rate_step": 5, "learning_rate_factor": 0.9, "precision": "bf16"}
    given |= {"validation": 0.3, "metrics": "taskonomy", "seeds": [4], "balancers": ["dtp"]}
    preset = json.loads(json.dumps(asdict(changed)))
    nested: dict[str, dict[str, Any]] = {
        "network": {"dropout": 0.2, "init_std": 0.1},
        "sharing": {"pad_gate": "source", "stitch_per_channel": False},
        "balance": {"dtp_focal_gamma": 2, "graddrop_leak": [0.5, 1]},
        "adashare": {"samples": 3, "weight_iterations": None, "init": "random"},
    }
    assert given.keys() | nested.keys() == preset.keys() - {"layout"}
    assert all(preset[name] != value for name, value in given.items())
    assert all(preset[group][name] != value for group, values in nested.items() for name, value in values.items())
    given |= {group: {**preset[group], **values} for group, values in nested.items()}
    assert json.loads((out / "identity.json").read_text(encoding="utf-8"))["config"] == {**preset, **given}


def test_every_setting_but_the_layout_is_an_option() -> None:
    options = inspect.signature(multitask).parameters
    assert {field.name for field in fields(MultitaskConfig)} - options.keys() == {"layout"}
    for group in ("network", "sharing", "balance", "adashare"):
        kind = type(getattr(PRESETS["rooms_small"], group))
        assert vars(options[group].default) == {field.name: "preset" for field in fields(kind)}


def test_options_of_a_group_come_with_their_description(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_app().cli(prog="simpath", args=["multitask", "--help"])
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "--adashare.samples INT|{preset} Binary policies drawn after the search" in text
    assert "(default: preset)" in text and "--balance.dwa-tau" in text and "--sharing.pad-gate" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("depth",)}, r"loss_weights is \(1.0, 20.0, 3.0\); allowed: 1 positive numbers"),
        ({"balancers": ("graddrop",), "architectures": ("soft",)}, "graddrop works with none of soft"),
        ({"crop": 3}, "crop is 3; allowed: 16 or more"),
        ({"seeds": (-1,)}, r"seeds is \(-1,\); allowed: at least one, each once, 0 and up"),
        ({"adashare": replace(ADASHARE, samples=0)}, "samples is 0; allowed: 1 or more"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(
    changes: dict[str, Any], message: str, nyuv2: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        multitask(nyuv2, tmp_path / "out", preset="nyuv2_3", **changes)
    assert not (tmp_path / "out").exists()


def test_the_page_shows_numbers_policy_and_predictions(tmp_path: Path) -> None:
    make_result(tmp_path)
    assert report(tmp_path) == 0  # `simpath report` knows what kind of directory it is
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = sections(text)
    assert list(found) == ["improvement", "scores", "policy", "predictions", "made"]
    assert found["improvement"].count("<svg") == 3 and "+1.2<small>\u22120.5 to 3.0</small>" in found["improvement"]
    assert found["policy"].count("<svg") == 3 and "75 % of one trunk" in found["policy"]
    assert "run 1.0 for segmentation, 2.0 for depth" in found["policy"]
    assert found["predictions"].count("data:image/") == 3 and "http://" not in re.sub(r'xmlns="[^"]*"', "", text)
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        assert xml.dom.minidom.parseString(drawing).documentElement.getAttribute("aria-label")


def test_the_best_value_of_each_metric_is_marked_by_its_own_direction(tmp_path: Path) -> None:
    make_result(tmp_path)
    scores = sections(write_multitask_report(tmp_path).read_text(encoding="utf-8"))["scores"]
    assert re.findall(r"<b>(.*?)</b>", scores) == ["0.5", "42.0"]
    assert "segmentation mIoU ↑" in scores and "depth Abs ↓" in scores and "GFLOP </th>" in scores


def test_one_seed_has_no_intervals_and_without_adashare_there_is_no_policy(tmp_path: Path) -> None:
    make_result(tmp_path, rows=("single_task", "hard+dwa"), seeds=[0])
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    summary["rows"][1]["improvement"]["ci95"] = [None, None]
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_multitask_report(tmp_path).read_text(encoding="utf-8")
    assert "no interval" in text and "AdaShare was not run here" in text and "hard sharing, dwa" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    make_result(tmp_path, data_set="<script>alert(1)</script>")
    text = write_multitask_report(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished run of simpath multitask"):
        write_multitask_report(tmp_path)
    make_result(tmp_path)
    (tmp_path / "runs" / "hard" / "seed-0" / "predictions.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"predictions\.png is missing"):
        write_multitask_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_rows_are_called_by_the_names_of_the_papers() -> None:
    assert label_of("nddr") == "NDDR-CNN" and label_of("mtan+pcgrad") == "MTAN, pcgrad"
