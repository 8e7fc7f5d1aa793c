"""The two example services, side by side in one database, installed from their values files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.kind import images
from tests.kind.cluster import Cluster, Release, Site


@pytest.fixture(scope="module")
def both(cluster: Cluster) -> Iterator[list[Release]]:
    """Both services, installed at the same time."""
    with Site.of(cluster, "services") as site:
        yield [site.install("ingestion", images.INGESTION), site.install("eventhandler", images.EVENTHANDLER)]


def test_both_services_become_ready(both: list[Release]) -> None:
    assert [len(release.ready()) for release in both] == [1, 2]


def test_each_schema_is_complete(both: list[Release]) -> None:
    for release in both:
        release.ready()
    assert both[0].site.tables() >= {"sources", "readings", "events", "handlers"}


@pytest.mark.parametrize("service", ["ingestion", "eventhandler"])
def test_each_service_has_a_version_table_of_its_own(both: list[Release], service: str) -> None:
    for release in both:
        release.ready()
    rows = both[0].site.sql(f"SELECT version_id FROM goose_{service} ORDER BY id")
    assert rows == [["0"], ["1"], ["2"]]
    owners = both[0].site.sql(f"SELECT DISTINCT service FROM goose_{service}_ledger")
    assert owners == [[service]]


def test_the_last_word_says_what_was_done(both: list[Release]) -> None:
    [pod] = both[0].ready()
    assert pod.migration
    assert pod.migration.message.startswith("ingestion 0→2: 2 applied in ")


def test_every_line_of_the_log_is_json(both: list[Release]) -> None:
    [pod] = both[0].ready()
    lines = both[0].site.kubectl("logs", pod.name, "--container=migrate").splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["started", "applied", "applied", "done"]
    assert {event["service"] for event in events} == {"ingestion"}


def test_the_notes_show_the_last_word_of_each_pod(both: list[Release]) -> None:
    """The command that Helm prints after an installation works as it stands."""
    [pod] = both[0].ready()
    notes = both[0].site.helm("get", "notes", "ingestion")
    command = notes[notes.index("kubectl", notes.index("The last word")) :].split("\n\n")[0]
    shown = both[0].site.shell(command)
    assert pod.migration
    assert shown == f"{pod.name}: {pod.migration.message}\n"


def test_no_token_is_mounted(both: list[Release]) -> None:
    [pod] = both[0].ready()
    containers = [*pod.raw["spec"]["initContainers"], *pod.raw["spec"]["containers"]]
    assert [container.get("volumeMounts", []) for container in containers] == [[], []]
    listed = both[0].site.kubectl("exec", pod.name, "--container=ingestion", "--", "ls", "/var/run")
    assert "secrets" not in listed


def test_helm_test_proves_a_running_release(both: list[Release]) -> None:
    for release in both:
        release.ready()
        assert '"event": "done"' in both[0].site.helm("test", release.name, "--logs")
