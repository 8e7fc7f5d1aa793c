"""Many pods of one service at once."""

from __future__ import annotations

from tests.kind import images
from tests.kind.cluster import Site


REPLICAS = 10


def test_ten_replicas_run_every_file_once(site: Site) -> None:
    """One pod migrates, the nine others wait for its lock and find nothing left to do."""
    release = site.install("ingestion", images.INGESTION_SLOW, f"--set=workload.replicas={REPLICAS}")
    pods = release.ready()
    assert len(pods) == REPLICAS
    assert len({pod.node for pod in pods}) == 2
    assert site.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [["0"], ["1"], ["2"], ["3"]]
    logs = [release.log(pod) for pod in pods]
    applied = [event["file"] for log in logs for event in log if event["event"] == "applied"]
    assert sorted(applied) == sorted(images.IMAGES[images.INGESTION_SLOW])
    waited = [log for log in logs if "waiting for lock" in [event["event"] for event in log]]
    assert waited, "no pod met another: the migration is too fast for this test to show anything"
