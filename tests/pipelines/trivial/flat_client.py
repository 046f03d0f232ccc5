"""A client process for kill tests: `python flat_client.py OUT IMAGES` renders flat colours on a local cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from flat_stages import CONFIG, STAGES

from pipelines.farm import render_on_cluster
from pipelines.place import Place


def main(out: Path, num_images: int) -> None:
    summary = render_on_cluster(CONFIG, out=out, num_images=num_images, place=Place(cores=2), stages=STAGES)
    print(summary["rendered"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
