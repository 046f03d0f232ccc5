"""`simpath evaluate`: which protocol it follows on which task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipelines.commands.backbones as backbones


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
    assert backbones.evaluate("random:resnet18:0", str(tmp_path / "task"), out=out, size=16, resize=16) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["n_train"] == 16 and line["n_test"] == 8 and line["score"] > 90
    config = json.loads((out / "linear" / "summary.json").read_text(encoding="utf-8"))["config"]
    assert config["selection"] == selection and config["sweep"] == "full"
