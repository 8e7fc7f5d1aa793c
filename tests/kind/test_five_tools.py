"""Five services, one per tool, with the same version numbers in one database: each installed from its values file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kind import images
from tests.kind.cluster import Cluster, Release, Site


SERVICES = {
    "ingestion": images.INGESTION,
    "scheduler": images.SCHEDULER,
    "alerting": images.ALERTING,
    "reporting": images.REPORTING,
    "forecasting": images.FORECASTING,
}
VERSIONS = {
    "ingestion": ("goose_ingestion", "SELECT version_id FROM goose_ingestion ORDER BY id", ["0", "1", "2"]),
    "scheduler": ("migrate_scheduler", "SELECT version, dirty FROM migrate_scheduler", ["2\tf"]),
    "alerting": ("flyway_alerting", "SELECT version FROM flyway_alerting ORDER BY installed_rank", ["1", "2"]),
    "reporting": ("dbmate_reporting", "SELECT version FROM dbmate_reporting ORDER BY 1", ["1", "2"]),
    "forecasting": ("alembic_forecasting", "SELECT version_num FROM alembic_forecasting", ["2"]),
}
"""Each service's version table, and what its own tool keeps in it after the versions 1 and 2."""
TABLES = {
    *("sources", "readings", "jobs", "runs", "rules", "alerts", "templates", "reports", "models", "forecasts"),
}


@pytest.fixture(scope="module")
def site(cluster: Cluster) -> Iterator[Site]:
    """A namespace with the five of them, installed at the same time, and all ready."""
    with Site.of(cluster, "five-tools") as site:
        for release in [site.install(service, image) for service, image in SERVICES.items()]:
            release.ready()
        yield site


def test_the_database_has_every_table_and_five_version_tables(site: Site) -> None:
    versions = {table for table, _, _ in VERSIONS.values()}
    assert site.tables() == TABLES | versions | {f"{table}_ledger" for table in versions}


@pytest.mark.parametrize("service", SERVICES)
def test_each_file_ran_once_and_is_recorded_as_its_tool_does(site: Site, service: str) -> None:
    release = Release(site, service)
    [pod] = release.ready()
    applied = [event["version"] for event in release.log(pod) if event["event"] == "applied"]
    assert applied == ["1", "2"]
    table, query, expected = VERSIONS[service]
    assert ["\t".join(row) for row in site.sql(query)] == expected
    ledger = site.sql(f"SELECT service, version FROM {table}_ledger WHERE version <> '' ORDER BY version")
    assert ledger == [[service, "1"], [service, "2"]]


def test_a_second_start_finds_nothing_to_do(site: Site) -> None:
    releases = [Release(site, service) for service in SERVICES]
    before = {pod.name for release in releases for pod in release.ready()}
    site.kubectl("delete", "pods", "--all", "--wait=false")
    for release in releases:
        [pod] = release.ready()
        assert pod.name not in before
        assert [event["event"] for event in release.log(pod)] == ["started", "done"]
