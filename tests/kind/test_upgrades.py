"""The life of a release: to a newer image, and back."""

from __future__ import annotations

from tests.kind import images
from tests.kind.cluster import Site


def test_an_upgrade_applies_just_the_new_file_and_a_rollback_starts_all_the_same(site: Site) -> None:
    """The old image finds a database that is ahead of it, which is no error."""
    release = site.install("ingestion", images.INGESTION)
    release.ready()
    release.upgrade(images.INGESTION_WITH_THIRD)
    [pod] = release.ready()
    assert [event["file"] for event in release.log(pod) if event["event"] == "applied"] == ["00003_add_unit.sql"]
    release.rollback()
    [pod] = release.ready()
    assert [event["event"] for event in release.log(pod)] == ["started", "database is ahead", "done"]
    assert site.sql("SELECT max(version_id) FROM goose_ingestion") == [["3"]]
