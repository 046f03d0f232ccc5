"""Dask's own page and report, where bokeh is installed."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.artifact import Store
from pipelines.cluster import open_cluster
from pipelines.flow import Flow, StageFailed

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Dask's pages
def test_the_link_answers_and_a_run_that_fails_leaves_its_report_too(tmp_path: Path, trivial: ModuleType) -> None:
    pytest.importorskip("bokeh", reason="needs bokeh (simpath[cluster])")
    report = tmp_path / "out" / "performance.html"
    with (
        pytest.raises(StageFailed, match="the value is 3"),
        open_cluster("local", cores=1, report=report) as cluster,
        Flow(Store(tmp_path / "store"), cluster, run="test", stages=trivial.STAGES) as flow,
    ):
        assert cluster.dashboard is not None and cluster.dashboard.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(cluster.dashboard, timeout=60) as answer:
            assert answer.status == 200 and b"Dask" in answer.read()
        flow.result(flow.submit("faulty", trivial.FaultConfig("raise")))
    assert "Dask Performance Report" in report.read_text(encoding="utf-8")
