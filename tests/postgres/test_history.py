"""What has run must be what the folder has: exit 21 where it is not, naming everything at once."""

from __future__ import annotations

from tests.postgres.conftest import Database, Service


def test_a_changed_a_missing_and_a_late_file_are_named_together(ingestion: Service, database: Database) -> None:
    ingestion.write(_00004_four="CREATE TABLE four ();", _00006_six="CREATE TABLE six ();")
    ingestion.mooring()
    ingestion.write(
        _00001_create_sources="CREATE TABLE sources (id bigint PRIMARY KEY);", _00003_late="CREATE TABLE late ();"
    )
    (ingestion.folder / "00004_four.sql").unlink()
    outcome = ingestion.mooring()
    assert outcome.code == 21
    assert outcome.problems == [
        "00001_create_sources.sql is not the file that ran as version 1: its SHA-256 begins with 1b93a637, recorded is"
        " 01f57302",
        "00004_four.sql ran as version 4, and there is no such file any more",
        "00003_late.sql is numbered below 6, which ran already",
    ]
    assert outcome.event("failed")["hint"].splitlines() == [
        "Put the file back as it ran, and the change into a new migration.",
        "Put the file back, or set MOORING_SQUASHED=4 if it was squashed away on purpose.",
        "Give it a number above 6, or set MOORING_OUT_OF_ORDER=3 to run it all the same.",
    ]
    assert "late" not in database.tables()


def test_line_ends_are_no_change(ingestion: Service) -> None:
    ingestion.mooring()
    file = ingestion.folder / "00001_create_sources.sql"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert ingestion.mooring().code == 0


def test_a_late_file_runs_where_a_setting_names_it(ingestion: Service, database: Database) -> None:
    ingestion.write(_00004_four="CREATE TABLE four ();")
    ingestion.mooring()
    ingestion.write(_00003_late="CREATE TABLE late ();", _00005_five="CREATE TABLE five ();")
    assert ingestion.mooring(OUT_OF_ORDER="00003").code == 0
    assert {"late", "five"} < database.tables()
    assert ingestion.mooring().code == 0, "it is applied, and no longer out of order"


def test_squashed_files_may_be_gone(ingestion: Service) -> None:
    ingestion.write(_00003_three="CREATE TABLE three ();")
    ingestion.mooring()
    (ingestion.folder / "00001_create_sources.sql").unlink()
    (ingestion.folder / "00002_create_readings.sql").unlink()
    assert ingestion.mooring().code == 21
    assert ingestion.mooring(SQUASHED="2").code == 0


def test_a_version_table_that_is_gone_is_not_begun_anew(ingestion: Service, database: Database) -> None:
    ingestion.mooring()
    database.sql("DROP TABLE goose_ingestion")
    outcome = ingestion.mooring()
    assert outcome.code == 21
    assert outcome.problems == ["the version table goose_ingestion is gone, but its ledger knows 2 migrations"]
