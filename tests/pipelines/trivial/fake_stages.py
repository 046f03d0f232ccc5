"""Stand-ins for the expensive stages of an experiment: a backbone is its parameters, and how good it is is known.

Task "a" likes a random background, task "b" a fixed one; everything else is worth nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.rendering import DatasetConfig, ShardConfig
from pipelines.stages import Stage, fixed
from pretrain.train import PretrainConfig
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig

N_TEST = 40


def render_shard(config: ShardConfig, *, out: Path, device: str) -> dict[str, Any]:
    (out / "params.json").write_text(json.dumps(config.render.params.as_dict()))
    return {"images": config.count}


def dataset(config: DatasetConfig, *, shards: list[Path], out: Path) -> dict[str, Any]:
    (out / "params.json").write_bytes((shards[0] / "params.json").read_bytes())
    return {"shards": len(shards)}


def pretrain(config: PretrainConfig, *, data: Path, out: Path, device: str, processes: int) -> dict[str, Any]:
    (out / "backbone.safetensors").write_bytes((data / "params.json").read_bytes())
    return {"seed": config.seed, "processes": processes}


def pretrain_on_random_backgrounds(config: PretrainConfig, *, data: Path, **others: Any) -> dict[str, Any]:
    if json.loads((data / "params.json").read_text())["background"] == "fixed":
        raise ValueError("it diverged")
    return pretrain(config, data=data, **others)


def features(
    config: FeatureConfig, *, backbone: Path | str, task: str, out: Path, device: str, root: str | None = None
) -> dict[str, Any]:
    params = json.loads(backbone.read_text()) if isinstance(backbone, Path) else None
    rate = 0.25
    if params is not None:
        rate = 0.75 if (params["background"] == "random") == (task == "a") else 0.5
    (out / "rate.json").write_text(json.dumps(rate))
    (out / "task.json").write_text(json.dumps(task))
    return {"task": task, "root": root, "backbone": str(backbone)}


def reward(config: ScoreConfig, *, features_dir: Path, out: Path) -> dict[str, Any]:
    return {"reward": 100 * json.loads((features_dir / "rate.json").read_text())}


def final(config: ScoreConfig, *, features_dir: Path, selected: Path, out: Path) -> dict[str, Any]:
    from safetensors.numpy import save_file

    rate = json.loads((features_dir / "rate.json").read_text())
    correct = (np.arange(N_TEST) < rate * N_TEST).astype(np.uint8)
    save_file({"correct": correct, "label": np.zeros(N_TEST, np.int64)}, out / "predictions.safetensors")
    task = json.loads((features_dir / "task.json").read_text())
    result = {"task": task, "method": "linear", "score": 100 * rate, "metrics": {}, "also_report": []}
    (out / "summary.json").write_text(json.dumps(result))
    return result


STAGES = {
    name: Stage(f"fake_stages:{name}", fixed("1"), "python")
    for name in ("render_shard", "dataset", "pretrain", "features", "reward", "final")
}
