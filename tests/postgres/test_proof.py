"""Exit 0 is proof: a table that should be there and is not ends in exit 50."""

from __future__ import annotations

from tests.postgres.conftest import Database, Service


def test_a_table_dropped_by_hand_is_missed_at_the_next_start(ingestion: Service, database: Database) -> None:
    ingestion.mooring()
    database.sql("DROP TABLE readings")
    outcome = ingestion.mooring()
    assert outcome.code == 50
    assert outcome.last_word.startswith(
        "exit 50: public.readings of ingestion is missing: version 2 (00002_create_readings.sql) made it. Restore"
    )
    assert outcome.event("failed")["hint"] == (
        "Restore public.readings from a backup, or make a migration that creates it again. If it is gone on purpose:"
        ' UPDATE "public"."goose_ingestion_ledger" SET tables = array_remove(tables, \'public.readings\');'
    )
    database.sql(outcome.event("failed")["hint"].partition("purpose: ")[2])
    assert ingestion.mooring().code == 0


def test_an_expected_table_that_no_migration_makes(ingestion: Service, database: Database) -> None:
    outcome = ingestion.mooring(EXPECTED_TABLES='sources, "Odd one", app.orders')
    assert outcome.code == 50
    assert outcome.problems == [
        "Odd one is missing: MOORING_EXPECTED_TABLES names it, and no migration of ingestion makes it",
        "app.orders is missing: MOORING_EXPECTED_TABLES names it, and no migration of ingestion makes it",
    ]
    assert database.tables() == {"sources", "readings"}, "the migrations are applied all the same"
    database.sql('CREATE TABLE "Odd one" (); CREATE SCHEMA app; CREATE TABLE app.orders ();')
    assert ingestion.mooring(EXPECTED_TABLES='["sources", "Odd one", "app.orders"]').code == 0


def test_verify_proves_and_changes_nothing(ingestion: Service, database: Database) -> None:
    outcome = ingestion.mooring("verify")
    assert outcome.code == 60
    assert outcome.problems == ["00001_create_sources.sql is not applied", "00002_create_readings.sql is not applied"]
    assert database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    ingestion.mooring()
    assert ingestion.mooring("verify").code == 0
    database.sql("DROP TABLE readings")
    assert ingestion.mooring("verify").code == 50
