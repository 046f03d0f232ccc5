"""The stage table: every row names a function that can be run, and looking costs no heavy import."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import pytest

from pipelines.configs import canonical, from_json, to_json
from pipelines.job import config_type, resolve
from pipelines.rendering import DatasetConfig
from pipelines.stages import STAGES
from pretrain.memory import freed_memory_is_kept
from sim.assets import CatalogConfig
from sim.shards import RenderConfig
from transfer.score import ScoreConfig


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_function_of_a_frozen_config_that_writes_under_out(name: str) -> None:
    row = STAGES[name]
    function = resolve(row.function)
    config = config_type(function)
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen  # type: ignore[attr-defined]
    parameters = inspect.signature(function).parameters
    assert "out" in parameters
    assert set(row.knobs) <= set(parameters)
    assert row.kind in ("python", "torch", "blender")


def test_a_decorated_stage_is_read_where_it_was_written() -> None:
    plain = resolve("transfer.score:reward")  # its config is named by a string, which pretrain.memory knows nothing of
    assert config_type(freed_memory_is_kept()(plain)) is config_type(plain) is ScoreConfig


def test_the_table_holds_the_whole_flow() -> None:
    assert {"render_shard", "dataset", "made_task", "pretrain", "features", "reward", "final"} <= set(STAGES)


def test_a_real_config_survives_the_trip_to_the_child() -> None:
    config = DatasetConfig(RenderConfig(), num_images=2500)
    shards = list(config.shards())
    assert len(shards) == 3
    for shard in (config, *shards):
        assert from_json(type(shard), to_json(shard)) == shard
        assert canonical(shard) == canonical(from_json(type(shard), to_json(shard)))


def test_better_shapes_change_a_shards_address() -> None:
    digests = {
        STAGES["render_shard"].depends(next(DatasetConfig(RenderConfig(catalog=catalog), 10).shards()))["catalog"]
        for catalog in (
            CatalogConfig(num_classes=3),
            CatalogConfig(num_classes=4),
            CatalogConfig(seed=8, num_classes=3),
        )
    }
    assert len(digests) == 3


def test_looking_at_the_table_imports_no_torch_and_no_dask() -> None:
    code = "import sys, pipelines.flow; assert not {'torch', 'torchvision', 'distributed', 'bpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_process_of_a_job_imports_nothing_that_its_stage_may_not_need() -> None:
    code = "import sys, pipelines.child; assert not {'numpy', 'transfer', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
