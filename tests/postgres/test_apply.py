"""Each file in its own transaction with its rows; what failed is rolled back and said, what went before it is kept."""

from __future__ import annotations

import pytest

from tests.postgres.conftest import Database, MakeService, Service


NO_TRANSACTION = "-- +goose NO TRANSACTION\n-- +goose Up\n"


def test_a_failure_keeps_what_went_before_and_nothing_of_the_file(
    make_service: MakeService, database: Database
) -> None:
    service = make_service(
        _1_a="CREATE TABLE a ();",
        _2_b="CREATE TABLE b ();\nINSERT INTO b\n  SELECT x FROM nowhere;",
        _3_c="CREATE TABLE c ();",
    )
    outcome = service.mooring()
    assert outcome.code == 30
    failed = outcome.event("failed")
    assert outcome.last_word == (
        'exit 30: 2_b.sql:4:17: relation "nowhere" does not exist. Correct 2_b.sql, build the image anew and deploy it: the next'
        " pod goes on from here."
    )
    assert failed["details"] == [
        "    4 |   SELECT x FROM nowhere;",
        "      |                 ^",
        "SQLSTATE 42P01 (UndefinedTable)",
        "Kept: 1_a.sql. Rolled back: 2_b.sql, all of it. Not run: 1 more.",
    ]
    assert failed["hint"] == "Correct 2_b.sql, build the image anew and deploy it: the next pod goes on from here."
    wanted = {"version": "2", "file": "2_b.sql", "line": 4, "column": 17, "sqlstate": "42P01", "kept": ["1"]}
    assert failed.items() >= wanted.items()
    assert database.tables() == {"a"}
    assert database.sql("SELECT max(version_id) FROM goose_ingestion") == [(1,)]
    service.write(_2_b="CREATE TABLE b ();")
    assert service.mooring().code == 0
    assert database.tables() == {"a", "b", "c"}


def test_an_error_without_a_position_points_at_its_statement(make_service: MakeService) -> None:
    outcome = make_service(
        _1_a="CREATE TABLE a (x int UNIQUE);\n\n  INSERT INTO a VALUES (1), (1);\nSELECT 1;"
    ).mooring()
    failed = outcome.event("failed")
    assert (failed["line"], failed["column"]) == (4, 3)
    assert "DETAIL: Key (x)=(1) already exists." in failed["details"]


def test_an_error_in_a_function_shows_its_context(make_service: MakeService) -> None:
    outcome = make_service(_1_a="DO $$ BEGIN\n  PERFORM 1/0;\nEND $$;").mooring()
    assert 'CONTEXT: SQL statement "SELECT 1/0"' in outcome.event("failed")["details"][-2]


def test_a_constraint_that_fails_at_commit_stops_the_files_after_it(
    make_service: MakeService, database: Database
) -> None:
    deferred = "FOREIGN KEY (x) REFERENCES a (y) DEFERRABLE INITIALLY DEFERRED"
    service = make_service(
        _1_a=f"CREATE TABLE a (x int, y int UNIQUE, {deferred}); INSERT INTO a VALUES (1, 2);",
        _2_b="CREATE TABLE b ();",
    )
    outcome = service.mooring()
    assert outcome.code == 30
    assert outcome.problems[0].startswith(
        "1_a.sql: while its transaction was recorded and committed: insert or update on"
    )
    assert database.tables() == set()


def test_a_file_that_wraps_itself_in_a_transaction_still_commits_with_its_row(
    make_service: MakeService, database: Database
) -> None:
    service = make_service(
        _1_a="BEGIN;\nCREATE TABLE a ();\nCOMMIT;", _2_b="BEGIN;\nCREATE TABLE b ();\nSELECT 1/0;\nCOMMIT;"
    )
    assert service.mooring().code == 30
    assert database.tables() == {"a"}


def test_no_transaction_runs_statement_by_statement(make_service: MakeService, database: Database) -> None:
    service = make_service(
        _1_a=NO_TRANSACTION + "CREATE TABLE a (x int);\nCREATE INDEX CONCURRENTLY a_x ON a (x);\nVACUUM a;"
    )
    assert service.mooring().code == 0
    assert database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::regclass") == [(True,)]
    row = "SELECT version_id FROM goose_ingestion ORDER BY id"
    assert database.sql(row) == [(0,), (1,)]
    assert database.sql("SELECT tables, done, doing FROM goose_ingestion_ledger WHERE version = '1'") == [
        (["public.a"], None, False)
    ]


def test_no_transaction_goes_on_after_the_last_statement_that_is_done(
    make_service: MakeService, database: Database
) -> None:
    """goose runs such a file from its top again, and fails at what is there already."""
    service = make_service(
        _1_a=NO_TRANSACTION + "CREATE TABLE a (x int);\nINSERT INTO a SELECT y FROM b;\nINSERT INTO a VALUES (2);"
    )
    outcome = service.mooring()
    assert outcome.code == 30
    assert database.sql("SELECT done, doing FROM goose_ingestion_ledger WHERE version = '1'") == [(1, False)]
    database.sql("CREATE TABLE b AS SELECT 1 AS y")
    assert service.mooring().code == 0
    assert database.sql("SELECT x FROM a ORDER BY x") == [(1,), (2,)]


def test_a_half_done_file_must_not_change(make_service: MakeService) -> None:
    top = f"{NO_TRANSACTION}CREATE TABLE a ();\n"
    service = make_service(_1_a=top + "SELECT 1/0;")
    service.mooring()
    service.write(_1_a=top + "SELECT 1;")
    outcome = service.mooring()
    assert outcome.code == 31
    assert outcome.problems == ["1_a.sql was changed after its first 1 statements had run"]


def test_a_statement_that_cannot_run_in_a_transaction_says_what_to_write(make_service: MakeService) -> None:
    outcome = make_service(_1_a="CREATE TABLE a (x int);", _2_b="CREATE INDEX CONCURRENTLY a_x ON a (x);").mooring()
    assert outcome.code == 30
    assert outcome.problems == ["2_b.sql:2:1: CREATE INDEX CONCURRENTLY cannot run inside a transaction block"]
    assert outcome.event("failed")["hint"].startswith("Put a line -- +goose NO TRANSACTION at the top of 2_b.sql")


@pytest.mark.parametrize(
    ("script", "tables"),
    [
        ("DO $$ BEGIN EXECUTE 'CREATE TABLE dynamic ()'; END $$;", ["public.dynamic"]),
        ("CREATE TABLE copied AS SELECT 1 AS x;", ["public.copied"]),
        ("SELECT 1 AS x INTO selected;", ["public.selected"]),
        ("CREATE VIEW v AS SELECT 1 AS x; CREATE MATERIALIZED VIEW m AS SELECT 1 AS x;", ["public.m", "public.v"]),
        (
            "CREATE TABLE p (x int) PARTITION BY LIST (x); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);",
            ["public.p"],
        ),
        ("CREATE TEMP TABLE gone (); CREATE TABLE made (); DROP TABLE made;", []),
        ("CREATE TABLE made (); ALTER TABLE made RENAME TO renamed;", ["public.renamed"]),
        ('CREATE SCHEMA "S x"; CREATE TABLE "S x"."T ""y""" ();', ['"S x"."T ""y"""']),
        ("DO $$ BEGIN CREATE TABLE undone (); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$;", []),
    ],
)
def test_the_ledger_has_exactly_the_tables_that_a_file_leaves_behind(
    make_service: MakeService, database: Database, script: str, tables: list[str]
) -> None:
    assert make_service(_1_a=script).mooring().code == 0
    assert database.sql("SELECT tables FROM goose_ingestion_ledger WHERE version = '1'") == [(tables,)]


@pytest.mark.parametrize(
    "takes_away",
    [
        "DROP TABLE a;",
        "DROP TABLE IF EXISTS a CASCADE;",
        "ALTER TABLE a RENAME TO b;",
        "CREATE SCHEMA s; ALTER TABLE a SET SCHEMA s;",
        "DO $$ BEGIN EXECUTE 'DROP TABLE a'; END $$;",
        "DROP SCHEMA app CASCADE; CREATE TABLE app_is_gone (); DROP TABLE a;",
        "CREATE TABLE p (x int) PARTITION BY LIST (x); ALTER TABLE a ADD x int; ALTER TABLE p ATTACH PARTITION a DEFAULT;",
    ],
)
def test_what_a_later_file_takes_away_is_expected_no_more(
    make_service: MakeService, database: Database, takes_away: str
) -> None:
    service = make_service(_1_a="CREATE SCHEMA app; CREATE TABLE app.x (); CREATE TABLE a (); CREATE TABLE stays ();")
    service.mooring()
    service.write(_2_b=takes_away)
    assert service.mooring().code == 0
    [(left,)] = database.sql("SELECT tables FROM goose_ingestion_ledger WHERE version = '1'")
    assert "public.a" not in left
    assert "public.stays" in left
    assert service.mooring().code == 0


def test_a_schema_that_is_renamed_takes_its_tables_along(make_service: MakeService) -> None:
    service = make_service(_1_a="CREATE SCHEMA app; CREATE TABLE app.x ();")
    service.mooring()
    service.write(_2_b="ALTER SCHEMA app RENAME TO web;")
    assert service.mooring().code == 0
    assert service.mooring().code == 0


def test_a_loss_before_the_run_is_not_put_down_to_a_migration(ingestion: Service, database: Database) -> None:
    """A table dropped by hand stays expected, although a later file drops another one."""
    ingestion.write(_00003_more="CREATE TABLE more ();")
    ingestion.mooring()
    database.sql("DROP TABLE readings")
    ingestion.write(_00004_less="DROP TABLE more;")
    outcome = ingestion.mooring()
    assert outcome.code == 50
    assert outcome.problems == [
        "public.readings of ingestion is missing: version 2 (00002_create_readings.sql) made it"
    ]
    ingestion.write(_00005_again="CREATE TABLE readings ();")
    assert ingestion.mooring().code == 0


@pytest.mark.parametrize("name", ["jit", "plan_cache_mode", "synchronous_commit"])
def test_what_is_set_for_the_records_is_not_set_for_the_next_migration(
    make_service: MakeService, database: Database, name: str
) -> None:
    service = make_service(
        _1_a="CREATE TABLE a ();", _2_b=f"CREATE TABLE seen AS SELECT pg_catalog.current_setting('{name}') AS it;"
    )
    assert service.mooring().code == 0
    assert database.sql("SELECT it FROM seen") == database.sql(f"SHOW {name}")
