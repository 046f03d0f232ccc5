"""A client process for kill tests: `python trivial_flow.py STORE SECONDS` sums four numbers that take their time.

Prints `started` when the cluster is up, and the sum when it is done.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from trivial_stages import STAGES, NumberConfig, SumConfig

from pipelines.artifact import Store
from pipelines.cluster import open_cluster
from pipelines.flow import Flow


def main(store: Path, seconds: float) -> None:
    with open_cluster(cores=2) as cluster, Flow(Store(store), cluster, run="kill-test", stages=STAGES) as flow:
        print("started", flush=True)
        numbers = [flow.submit("number", NumberConfig(value, seconds)) for value in range(1, 5)]
        result = flow.submit("total", SumConfig(), {"numbers": numbers})
        print(flow.result(result).summary["total"], flush=True)


if __name__ == "__main__":
    # as in a terminal: a test run that a script started in the background would pass on that SIGINT is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(Path(sys.argv[1]), float(sys.argv[2]))
