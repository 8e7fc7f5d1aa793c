"""Many pods of one service at once."""

from __future__ import annotations

from tests.kind import images
from tests.kind.cluster import Site


REPLICAS = 40


def test_forty_replicas_run_every_file_once(site: Site) -> None:
    """One pod migrates; others wait for its lock, or come later, and find nothing left to do."""
    # Forty probes would keep a small machine busy; a pod without one is ready when its migrations are.
    options = f"--set=workload.replicas={REPLICAS},workload.readinessProbe=null"
    release = site.install("ingestion", images.INGESTION_MEETING, options)
    pods = release.ready(within=300)
    assert len(pods) == REPLICAS
    assert len({pod.node for pod in pods}) == 2
    assert site.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [["0"], ["1"], ["2"], ["3"]]
    words = [pod.migration.message.partition(" in ")[0] for pod in pods if pod.migration]
    assert sorted(words) == ["ingestion 0→3: 3 applied", *["ingestion 3: nothing to do"] * (REPLICAS - 1)]
    assert "waiting for lock" in release.logs("--tail=-1"), "no pod has met another"
