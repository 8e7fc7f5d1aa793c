"""What keeps a service from starting, and what `kubectl describe pod` says of it."""

from __future__ import annotations

import re

import pytest

from tests.kind import images
from tests.kind.cluster import CommandFailed, Site


def test_a_service_on_the_table_of_another_does_not_start(site: Site) -> None:
    """The failure that Mooring exists for: its pod stays in Init with exit code 22 and the reason."""
    ingestion = site.install("ingestion", images.INGESTION)
    ingestion.ready()
    before = site.tables()
    eventhandler = site.install("eventhandler", images.EVENTHANDLER, "--set=versionTable=goose_ingestion")
    pod = eventhandler.refused(22)
    description = site.kubectl("describe", "pod", pod.name)
    assert re.search(r"Exit Code: +22", description)
    assert re.search(r"Message: +exit 22: goose_ingestion belongs to ingestion, not to eventhandler", description)
    assert re.search(r"Status: +Pending", description)
    assert site.tables() == before


def test_an_expected_table_that_nothing_makes_keeps_the_service_from_starting(site: Site) -> None:
    release = site.install("ingestion", images.INGESTION, "--set=expectedTables={sources,reports}")
    pod = release.refused(50)
    assert pod.migration
    assert pod.migration.message.startswith("exit 50: reports is missing: ")


def test_a_broken_migration_leaves_nothing_behind_and_a_fixed_image_recovers(site: Site) -> None:
    """What ran before the broken file is kept, nothing of the file itself; the upgrade goes on from there."""
    release = site.install("ingestion", images.INGESTION_BROKEN)
    pod = release.refused(30)
    assert pod.migration
    assert pod.migration.message == (
        'exit 30: 00003_add_unit.sql:3:1: relation "raedings" does not exist.'
        " Correct 00003_add_unit.sql, build the image anew and deploy it: the next pod goes on from here."
    )
    assert site.sql("SELECT max(version_id) FROM goose_ingestion") == [["2"]]
    assert "units" not in site.tables()
    release.upgrade(images.INGESTION_WITH_THIRD)
    release.ready()
    assert site.sql("SELECT max(version_id) FROM goose_ingestion") == [["3"]]


def test_a_typing_error_in_the_values_is_refused_before_anything_is_installed(site: Site) -> None:
    with pytest.raises(CommandFailed) as refused:
        site.install("ingestion", images.INGESTION, "--set=versionTabel=goose_ingestion")
    assert "additional properties 'versionTabel' not allowed" in refused.value.output
    assert site.kubectl("get", "deployments,pods", "--output=name") == ""
    assert site.kubectl("get", "secrets", "--selector=owner=helm", "--output=name") == ""
