"""A client that renders one shard of flat colours in a SLURM job: `python flat_slurm.py FOLDER IMAGES [LIFETIME_S]`.

LIFETIME_S: a worker ends by itself after so many seconds. Prints how the shard's jobs ended. No attempt may be lost: a
job whose process died makes the shard fail at once.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from flat_stages import CONFIG, STAGES

from pipelines.artifact import Store
from pipelines.batch import BatchConfig
from pipelines.cluster import open_cluster
from pipelines.flow import Flow
from pipelines.rendering import ShardConfig


class ShortLived(BatchConfig):
    """Walltimes are ten minutes at least."""

    @property
    def lifetime_s(self) -> int:
        return int(sys.argv[3])


def main(folder: Path, num_images: int, batch: BatchConfig) -> None:
    config = dataclasses.replace(CONFIG, images_per_shard=num_images)
    with (
        open_cluster("slurm", batch=batch, scratch=folder) as cluster,
        Flow(Store(folder / "store"), cluster, run="slurm-test", stages=STAGES, retries=0) as flow,
    ):
        flow.result(flow.submit("render_shard", ShardConfig(config, 0, num_images), knobs={"device": "cpu"}))
        print(*(outcome.status for outcome in flow.outcomes))


if __name__ == "__main__":
    kind = ShortLived if len(sys.argv) > 3 else BatchConfig
    batch = kind(cores=1, memory="1GB", walltime="00:20:00", stagger_s=0, interface="lo")
    main(Path(sys.argv[1]), int(sys.argv[2]), batch)
