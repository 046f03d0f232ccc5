"""`simpath tasks`: what it prints and with which status it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.__main__ import build_app
from pipelines.commands import FAILED
from pipelines.commands.tasks import ls, verify
from pipelines.usage import UsageError
from transfer.catalogue import TASKS

KAOKORE_12 = {"train": 6756, "dev": 845, "test": 845}


def write_kaokore(root: Path) -> None:
    """Empty files in the layout and with the counts of version 1.2, all eight classes in every part."""
    folder = root / "Kaokore"
    (folder / "images_256").mkdir(parents=True)
    rows = ["image,gender,status,set"]
    for part, size in KAOKORE_12.items():
        for i in range(size):
            gender, status = ("male", "female")[i % 2], ("noble", "warrior", "incarnation", "commoner")[i // 2 % 4]
            rows.append(f"{part}{i}.jpg,{gender},{status},{part}")
            (folder / "images_256" / f"{part}{i}.jpg").touch()
    (folder / "labels.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")


def test_verifying_names_the_version_and_accepts_it_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_kaokore(tmp_path)
    assert verify("Kaokore", tmp_path) == FAILED
    text = capsys.readouterr().out
    assert "6756 + 845 images, published are 6568 + 821: version 1.2" in text and "not the published set" in text
    assert verify("Kaokore", tmp_path, variant="1.2") == 0
    assert "note: version 1.2" in capsys.readouterr().out
    assert verify("Kaokore", tmp_path, variant="1.0") == FAILED
    assert "is version 1.2, not 1.0" in capsys.readouterr().out


def test_verifying_a_grouped_split_of_a_set_without_groups_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_kaokore(tmp_path)
    assert verify("Kaokore", tmp_path, split="grouped") == FAILED
    assert "no grouped split here" in capsys.readouterr().out


def test_the_list_shows_every_set_with_its_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert ls() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22
    assert lines[1].split()[:5] == ["CropDisease", "Natural", "43456", "10849", "38"]
    assert lines[3].endswith("by hand  CC BY 4.0; README of github.com/AlexOlsen/DeepWeeds")
    assert lines[6].endswith("by hand  no licence stated, research use; not verified")
    assert "simpath tasks list NAME" in lines[21]


def test_sets_that_are_named_are_shown_with_all_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert ls(("Kaokore", "EuroSAT")) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if not line.startswith(" ")] == ["EuroSAT", "Kaokore"]
    assert "  metric     accuracy, mean per class (balanced accuracy)\n" in text
    assert "  variants   1.0 (4238 + 527 images), 1.1, 1.2 (6756 + 845 images)\n" in text
    assert "  variants   one version only\n" in text
    for row in (row for row in TASKS if row.name in ("Kaokore", "EuroSAT")):
        assert all(f" {value}\n" in text for value in (row.source, row.citation, row.steps))
    with pytest.raises(UsageError, match="did you mean EuroSAT"):
        ls(("eurosat",))


def test_the_catalogue_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    app = build_app()
    assert app.cli(prog="simpath", args=["tasks", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 20 and rows[12]["name"] == "ChestX"
    assert rows[12]["also_report"] == ["mean_per_class", "macro_auc"]
    assert app.cli(prog="simpath", args=["tasks", "list", "AID", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["citation"].startswith("Xia et al. 2017") and row["metric"] == "accuracy"


def test_a_variant_that_the_set_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"task Kaokore: variant 1\.5; allowed: 1\.0, 1\.1, 1\.2"):
        verify("Kaokore", tmp_path, variant="1.5")
