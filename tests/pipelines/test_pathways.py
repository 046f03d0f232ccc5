"""The pathways page, from made results: nothing is trained here."""

from __future__ import annotations

import json
import re
import xml.dom.minidom
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from pipelines.commands.runs import report
from pipelines.pathway_charts import Named, bar_chart, lesion_charts, named_points, share_map
from pipelines.pathways import find_runs, write_pathways_report
from transfer.pathways.decathlon import BASELINE, VAL_IS_TEST

HOSTILE = "<script>alert(1)</script>"


def make_result(folder: Path, method: str, *, classes: int = 5, blocks: int = 8, seed: int = 0) -> dict[str, Any]:
    """A plausible result of one trained method in `folder`; returns its summary."""
    rng = np.random.default_rng([seed, len(method)])
    folder.mkdir(parents=True)
    seeds, images = 3, 40 * classes
    labels = np.arange(images) % classes
    scores = (75 + rng.normal(0, 1, seeds)).tolist()
    rows: list[dict[str, Any]] = [{"seed": index, "flops_plain": 3.0e8} for index in range(seeds)]
    tensors = {"label": labels, "correct": (rng.random((seeds, images)) < 0.75).astype(np.uint8)}
    others: dict[str, Any] = {}
    selection: list[dict[str, Any]] = []
    if method in ("blockdrop", "spottune"):
        wish = 0.35 + 0.5 * rng.random((classes, blocks))
        policy = rng.random((seeds, images, blocks)) < wish[labels]
        tensors["policy"] = policy.astype(np.uint8)
        share = policy.mean(axis=1)
    if method == "blockdrop":
        names = ("full", "joint_full", "first_k", "random_k", "dist_k")
        others = {name: {"score": 74.0 - i, "ci95": [71.0 - i, 77.0 - i]} for i, name in enumerate(names)}
        for row, kept in zip(rows, share, strict=True):
            row |= {"blocks": blocks, "blocks_kept": float(kept.sum()), "blocks_kept_std": 1.2, "flops_network": 2.1e8}
            row |= {"flops_network_std": 1.5e7, "flops_total": 2.4e8}
            row |= {"flops_others": {n: 3.0e8 if "full" in n else 2.0e8 for n in names}}
            row |= {"share_kept_per_block": kept.tolist(), "unique_policies": 31, "parameters_plain": 1000}
        selection = [{"penalty": p, "accuracy": 70 + p / 3, "flops_share": 0.5 + p / 30} for p in (1.0, 5.0, 10.0)]
        Image.new("RGB", (830, 300), (90, 120, 60)).save(folder / "easy_and_hard.png")
    else:
        for row in rows:
            row |= {"flops_network": 3.0e8, "flops_total": 3.1e8, "parameters_plain": 1000}
            row |= {"parameters_new_per_task": 1100}
    if method == "spottune":
        others = {"all_tuned": {"score": 73.0, "ci95": [70.0, 76.0]}}
        for row, kept in zip(rows, share, strict=True):
            row |= {"share_tuned": kept.tolist(), "unique_policies": 64}
    save_file(tensors, folder / "predictions.safetensors")
    summary = {
        "method": method,
        "task": "leaves",
        "metric": "accuracy",
        "score": float(np.mean(scores)),
        "scores": scores,
        "ci95": [72.0, 78.0],
        "others": others,
        "per_seed": rows,
        "selection": selection,
        "classes": [f"class {index}" for index in range(classes)],
        "notes": [],
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return summary


def make_lesion(folder: Path, *, blocks: int = 9, shuffles: bool = True, intervals: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {"arch": "cifar_resnet20", "classes": 5}
    for kind, loss in (("resnet", 4.0), ("plain", 60.0)):
        studies = []
        for _ in range(2):
            curve = [max(20.0, 85 - loss * count) + rng.normal() for count in range(1, blocks)]
            rows = [{"removed": count, "mean": mean, "std": 2.0} for count, mean in enumerate(curve, start=1)]
            swaps = [{"swaps": 2**i, "mean": 80 - loss * i / 9, "std": 1.0, "kendall_tau": 0.9} for i in range(4)]
            single = (85 - loss / 2 + rng.normal(0, 1, blocks)).tolist()
            study = {"full": 85.0, "single": single, "random_sets": rows, "sequences": rows}
            studies.append({**study, "shuffles": swaps if shuffles else []})
        content[kind] = {"learning_rate": 0.1, "studies": studies}
        if intervals:
            points = {"full": 1, "single": blocks, "random_sets": 8, "sequences": 8, "shuffles": 4 if shuffles else 0}
            content[kind]["ci95"] = {name: [[30.0, 90.0]] * count for name, count in points.items()}
    folder.mkdir(parents=True)
    (folder / "lesion.json").write_text(json.dumps(content), encoding="utf-8")
    sums = {kind: {"full": 85.0, "one_block_deleted": 81.0} for kind in ("resnet", "plain")}
    summary = {"method": "lesion", "task": "leaves", "score": 85.0, "seeds": [0, 1], **sums}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return content


def make_all(root: Path) -> None:
    for method in ("feature_extractor", "standard", "spottune", "blockdrop"):
        make_result(root / method, method)
    make_lesion(root / "lesion")


def sections(page: str) -> dict[str, str]:
    """The text of the page by the id of its h2."""
    parts = re.split(r'<h2 id="(\w+)">', page)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_holds_every_picture_that_was_promised(tmp_path: Path) -> None:
    make_all(tmp_path)
    assert report(tmp_path) == 0  # `simpath report` knows what kind of directory it is
    found = sections((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert list(found) == ["scores", "costs", "blockdrop", "spottune", "lesions", "made"]
    assert found["blockdrop"].count("<svg") == 4 and "data:image/" in found["blockdrop"]
    assert found["spottune"].count("<svg") == 3 and found["lesions"].count("<svg") == 4
    for title in ("Accuracy against cost", "How often each block is kept", "Blocks kept per image", "by class"):
        assert title in found["blockdrop"]
    for title in ("One block", "Random blocks", "Neighbouring blocks", "Order of blocks"):
        assert title in found["lesions"]
    assert "absent" not in "".join(found.values())


def test_the_numbers_are_those_of_the_summaries(tmp_path: Path) -> None:
    summary = make_result(tmp_path / "leaves" / "blockdrop", "blockdrop")
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    found = sections(text)
    assert f"<b>{summary['score']:.1f}</b> ±{np.std(summary['scores'], ddof=1):.1f}" in found["scores"]
    assert "30.0 % of the FLOPs saved, 20.0 % with the policy network counted" in found["blockdrop"]
    assert "An image takes 0.210 ± 0.015 GFLOPs of the network" in found["blockdrop"]
    assert "BlockDrop was not run" not in text and "SpotTune was not run here" in found["spottune"]
    assert "The lesion study was not run here" in found["lesions"]


def test_easy_and_hard_pictures_that_are_missing_are_named(tmp_path: Path) -> None:
    summary = make_result(tmp_path / "blockdrop", "blockdrop")
    (tmp_path / "blockdrop" / "easy_and_hard.png").unlink()
    summary["notes"] = ["no picture of easy and hard images: of 5 classes 5 have none"]
    (tmp_path / "blockdrop" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert "There are no pictures of easy and hard images of this run" in text and summary["notes"][0] in text


def test_names_are_escaped(tmp_path: Path) -> None:
    summary = make_result(tmp_path / "blockdrop", "blockdrop")
    summary |= {"task": HOSTILE, "classes": [HOSTILE] * 5, "notes": [HOSTILE]}
    (tmp_path / "blockdrop" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text


def test_results_of_other_commands_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "linear").mkdir()
    (tmp_path / "linear" / "summary.json").write_text('{"method": "linear", "task": "leaves"}', encoding="utf-8")
    assert find_runs(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="holds no finished run of feature_extractor"):
        write_pathways_report(tmp_path)
    (tmp_path / "linear" / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON"):
        find_runs(tmp_path)


def test_many_classes_become_the_two_ends(tmp_path: Path) -> None:
    make_result(tmp_path / "blockdrop", "blockdrop", classes=60, blocks=54)
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert "12 with the fewest and 12 with the most of 60" in text
    assert len(set(re.findall(r"class \d+ \(\d+\.\d\), block 1:", text))) == 24


def test_lesion_curves_start_at_the_whole_network_and_leave_out_impossible_shuffles(tmp_path: Path) -> None:
    content = make_lesion(tmp_path / "lesion", shuffles=False)
    charts = [xml.dom.minidom.parseString(str(chart)) for chart in lesion_charts(content)]
    assert len(charts) == 3
    for chart, points in zip(charts, (9, 9, 9), strict=True):
        curves = chart.getElementsByTagName("polyline")
        assert [len(curve.getAttribute("points").split()) for curve in curves] == [points, points, 2]


def test_lesion_curves_lie_between_the_ends_of_their_intervals(tmp_path: Path) -> None:
    content = make_lesion(tmp_path / "lesion", intervals=True)
    charts = [xml.dom.minidom.parseString(str(chart)) for chart in lesion_charts(content)]
    assert len(charts) == 4
    for chart, points in zip(charts, (9, 9, 9, 5), strict=True):
        faint = [c for c in chart.getElementsByTagName("polyline") if c.getAttribute("class") == "curve faint"]
        heights = [[corner.split(",")[1] for corner in c.getAttribute("points").split()] for c in faint]
        assert [len(row) for row in heights] == [points] * 4 and all(len(set(row)) == 1 for row in heights)
        assert float(heights[0][0]) > float(heights[1][0])  # 30 % is drawn below 90 %
    page = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert "Faint: the 95 % interval over seeds and test images" in page
    make_lesion(tmp_path / "older")
    assert "Faint:" not in write_pathways_report(tmp_path / "older").read_text(encoding="utf-8")


def test_bars_are_as_high_as_their_values() -> None:
    chart = xml.dom.minidom.parseString(str(bar_chart("T", "x", "y", [("a", 0.0), ("b", 2.0), ("c", 4.0)], alt="said")))
    heights = [float(bar.getAttribute("height")) for bar in chart.getElementsByTagName("rect")]
    assert heights[0] == 0 and heights[2] == pytest.approx(2 * heights[1], abs=0.05) and heights[2] > 50


def test_every_point_is_named_and_equal_points_do_not_write_over_each_other() -> None:
    points = [Named(50.0, 70.0, name, 0) for name in ("a", "b", "c")]
    chart = xml.dom.minidom.parseString(str(named_points("T", "x", "y", points, alt="said", path=[(40, 60), (60, 75)])))
    ends = [text for text in chart.getElementsByTagName("text") if text.getAttribute("class").startswith("end")]
    assert sorted(text.firstChild.nodeValue for text in ends) == ["a", "b", "c"]
    heights = sorted(float(text.getAttribute("y")) for text in ends)
    assert heights[1] - heights[0] >= 14 and heights[2] - heights[1] >= 14


def test_a_map_says_every_share() -> None:
    chart = xml.dom.minidom.parseString(str(share_map("T", "block", [("a", [0.0, 1.0]), ("b", [0.5, 0.25])], alt="x")))
    cells = [cell.firstChild.firstChild.nodeValue for cell in chart.getElementsByTagName("rect")]
    assert cells == ["a, block 1: 0 %", "a, block 2: 100 %", "b, block 1: 50 %", "b, block 2: 25 %"]


def test_backbones_have_rows_of_their_own_and_no_result_hides_another(tmp_path: Path) -> None:
    places = {"standard": ("a" * 64, 71.0), "last1": ("a" * 64, 72.0), "other/last1": ("b" * 64, 73.0)}
    places["again/standard"] = ("a" * 64, 74.0)
    for place, (digest, score) in places.items():
        summary = make_result(tmp_path / place, place.rpartition("/")[2])
        changed = {**summary, "backbone": f"resnet18 sha256:{digest}", "score": score}
        (tmp_path / place / "summary.json").write_text(json.dumps(changed), encoding="utf-8")
    scores = sections(write_pathways_report(tmp_path).read_text(encoding="utf-8"))["scores"]
    assert "trained from the backbone of its row" in scores
    rows = [
        (
            re.findall(r"<small>((?:resnet18|again).*?)</small>", row.partition("</th>")[0]),
            re.findall(r"<b>(.*?)</b>", row),
        )
        for row in scores.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]
    ]
    first = "resnet18 sha256:aaaaaaaa"
    assert sorted(rows) == [
        ([first], ["71.0", "72.0"]),
        ([first, "again: again/standard"], ["74.0"]),
        (["resnet18 sha256:bbbbbbbb"], ["73.0"]),
    ]
    (tmp_path / "other" / "last1" / "summary.json").unlink()
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert f"trained from the same backbone ({first})" in text


def test_the_decathlon_score_is_there_once_all_ten_domains_are(tmp_path: Path) -> None:
    for domain, accuracy in BASELINE.items():
        text = write_pathways_report(tmp_path).read_text(encoding="utf-8") if any(tmp_path.iterdir()) else ""
        assert "Visual Decathlon score" not in text
        folder = tmp_path / domain / "standard"
        summary = {**make_result(folder, "standard"), "task": f"decathlon:{domain}", "score": accuracy}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    assert "standard fine-tuning <b>2500</b>." in text and "on val" not in text
    for domain in ("svhn", "dtd"):
        path = tmp_path / domain / "standard" / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**summary, "notes": [VAL_IS_TEST]}), encoding="utf-8")
    text = write_pathways_report(tmp_path).read_text(encoding="utf-8")
    told = "(not comparable with published scores: 2 of 10 domains scored on val)."
    assert f"standard fine-tuning <b>2500</b> {told}" in text
    assert re.findall(r">decathlon:([\w-]+)<small>on val", text) == ["dtd", "svhn"]
