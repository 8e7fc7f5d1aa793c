"""What happens to pods, nodes and servers while a migration runs, and that the next pod puts everything right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kind import images
from tests.kind.cluster import Cluster, Pod, Release, Site


@pytest.fixture
def release(site: Site) -> Release:
    """A service whose fourth file takes a minute at the first attempt, and a moment at the next."""
    return site.install("ingestion", images.INGESTION_DISTURBED)


def _is_complete(release: Release) -> None:
    """Nothing is lost, and nothing is there twice: neither files, nor what the disturbed one wrote, nor records of either."""
    site = release.site
    assert site.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [["0"], ["1"], ["2"], ["3"], ["4"]]
    assert site.sql("SELECT version FROM goose_ingestion_ledger WHERE version <> '' ORDER BY 1") == [
        ["1"],
        ["2"],
        ["3"],
        ["4"],
    ]
    assert site.sql("SELECT value FROM readings") == [["1"]]
    assert site.sql("SELECT last_value > 1 FROM attempts") == [["t"]], "nobody has disturbed the first attempt"


def _applied(release: Release, pod: Pod) -> list[str]:
    return [event["version"] for event in release.log(pod) if event["event"] == "applied"]


def test_a_pod_is_deleted_and_the_next_one_goes_on_where_it_was(release: Release) -> None:
    first = release.migrating()
    release.site.kubectl("delete", "pod", first.name, "--wait=false")
    [next_one] = release.ready()
    assert next_one.name != first.name
    assert _applied(release, next_one) == ["4"]
    _is_complete(release)


def test_postgresql_goes_and_comes_back_and_the_same_pod_goes_on(release: Release) -> None:
    """Its pod is killed; the data is on a disk that outlives it."""
    release.migrating()
    # What is not on disk yet does not outlive the server: so that the sequence's number does.
    release.site.psql("postgres", "CHECKPOINT")
    release.site.cluster.kubectl("--namespace=postgres", "delete", "pod", "postgres-0", "--grace-period=1")
    [pod] = release.ready(after_failures=True)
    assert _applied(release, pod)[-1] == "4"
    assert pod.migration
    assert pod.migration.code == 0
    _is_complete(release)


@pytest.fixture
def elsewhere(cluster: Cluster) -> Iterator[str]:
    """The worker on which PostgreSQL is not, and at first the only one that takes pods; open to them again in the end."""
    postgres, other = cluster.workers
    cluster.kubectl("cordon", postgres)
    try:
        yield other
    finally:
        cluster.kubectl("uncordon", postgres, other)


def test_a_node_fails_and_a_pod_on_another_one_goes_on(elsewhere: str, release: Release) -> None:
    """Its pod is given up by hand, as Kubernetes does by itself after some minutes."""
    cluster = release.site.cluster
    first = release.migrating()
    assert first.node == elsewhere
    cluster.cut_off(elsewhere)
    try:
        cluster.kubectl("cordon", elsewhere)
        cluster.kubectl("uncordon", cluster.workers[0])
        release.site.kubectl("delete", "pod", first.name, "--force", "--grace-period=0")
        [next_one] = release.ready()
    finally:
        cluster.bring_back(elsewhere)
    assert next_one.node == cluster.workers[0]
    assert _applied(release, next_one) == ["4"]
    _is_complete(release)
