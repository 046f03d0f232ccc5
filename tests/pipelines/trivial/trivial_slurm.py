"""A client process whose workers are SLURM jobs: `python trivial_slurm.py FOLDER SECONDS` sums four numbers."""

from __future__ import annotations

import sys
from pathlib import Path

from trivial_stages import STAGES, NumberConfig, SumConfig

from pipelines.artifact import Store
from pipelines.batch import BatchConfig
from pipelines.cluster import open_cluster
from pipelines.flow import Flow

BATCH = BatchConfig(jobs=1, cores=2, memory="1GB", walltime="00:20:00", interface="lo")


def main(folder: Path, seconds: float) -> None:
    store = Store(folder / "store")
    with (
        open_cluster("slurm", batch=BATCH, scratch=folder) as cluster,
        Flow(store, cluster, run="slurm-test", stages=STAGES) as flow,
    ):
        print(cluster.address, flush=True)
        numbers = [flow.submit("number", NumberConfig(value, seconds), cores=1) for value in range(1, 5)]
        numbers.append(flow.submit("number", NumberConfig(5, 0.1), cores=64))
        result = flow.submit("total", SumConfig(), {"numbers": numbers})
        summary = flow.result(result).summary
        print(summary["total"], flow.result(numbers[-1]).summary["threads"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
