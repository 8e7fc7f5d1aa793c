"""Others' locks, sessions that were set in odd ways, statements that were cut off: nothing is lost, nothing runs twice."""

from __future__ import annotations

import signal
import threading

import psycopg
import pytest

from tests.postgres.conftest import Database, MakeService


NO_TRANSACTION = "-- +goose NO TRANSACTION\n-- +goose Up\n"


def holder(database: Database) -> psycopg.Connection[tuple[object, ...]]:
    """Another session, in a transaction that has read and locked the table `a`."""
    connection = psycopg.connect(database.url, application_name="web")
    connection.execute("LOCK TABLE a IN ACCESS SHARE MODE")
    return connection


def test_a_table_that_others_hold_is_given_up_after_a_while_and_they_are_named(
    make_service: MakeService, database: Database
) -> None:
    service = make_service(_1_a="CREATE TABLE a ();", _2_b="CREATE TABLE b ();", _3_c="ALTER TABLE a ADD x int;")
    database.sql("CREATE TABLE a ()")
    service.write(_1_a="SELECT 1;")
    with holder(database) as other:
        outcome = service.mooring(LOCK_TIMEOUT="200ms")
        pid = other.info.backend_pid
    assert outcome.code == 41
    assert outcome.problems == ["3_c.sql:2:1: canceling statement due to lock timeout"]
    details = outcome.event("failed")["details"]
    assert details[-1].startswith(f"Held by pid {pid}, user postgres, application web, idle in transaction since ")
    assert details[-1].endswith(": LOCK TABLE a IN ACCESS SHARE MODE")
    assert "b" in database.tables(), "what went before it is kept"


def test_a_table_that_becomes_free_is_altered_after_all(make_service: MakeService, database: Database) -> None:
    database.sql("CREATE TABLE a ()")
    service = make_service(_1_a="CREATE TABLE once (); ALTER TABLE a ADD x int;", _2_b="CREATE TABLE b ();")
    other = holder(database)
    running = service.start(LOCK_TIMEOUT="300ms")
    database.wait_for("EXISTS (SELECT FROM pg_locks WHERE NOT granted)", seconds=60)
    database.wait_for("NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)", seconds=60)
    other.close()
    outcome = service.end(running)
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 2)


def test_an_index_whose_build_was_cut_off_is_dropped_and_made_anew(
    make_service: MakeService, database: Database
) -> None:
    database.sql("CREATE TABLE a (x int)")
    service = make_service(
        _1_a=f"{NO_TRANSACTION}CREATE TABLE b ();\nCREATE INDEX CONCURRENTLY a_x ON a (x);\nCREATE TABLE c ();"
    )
    with psycopg.connect(database.url) as other:
        other.execute("INSERT INTO a VALUES (1)")
        running = service.start()
        waiting = "pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
        database.wait_for(f"EXISTS (SELECT FROM {waiting})", seconds=60)
        database.sql(f"SELECT pg_terminate_backend(pid) FROM {waiting}")
        database.wait_for("EXISTS (SELECT FROM pg_index WHERE indexrelid = 'a_x'::regclass AND NOT indisvalid)")
    outcome = service.end(running)
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    assert database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::regclass") == [(True,)]
    assert {"b", "c"} < database.tables()


def test_an_index_that_cannot_be_built_leaves_no_rest(make_service: MakeService, database: Database) -> None:
    database.sql("CREATE TABLE a (x int); INSERT INTO a VALUES (1), (1)")
    service = make_service(_1_a=f"{NO_TRANSACTION}CREATE UNIQUE INDEX CONCURRENTLY a_x ON a (x);")
    assert service.mooring().code == 30
    assert database.sql("SELECT to_regclass('a_x')") == [(None,)]
    database.sql("DELETE FROM a")
    assert service.mooring().code == 0


def test_what_cannot_be_known_is_said(make_service: MakeService, database: Database) -> None:
    """A procedure that commits on its way was cut off: nobody knows how far it got."""
    database.sql(
        "CREATE TABLE a (x int); CREATE PROCEDURE p() LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO a VALUES (1); COMMIT; PERFORM pg_sleep(60); END $$"
    )
    service = make_service(_1_a=f"{NO_TRANSACTION}SELECT 1;\nCALL p();")
    running = service.start()
    database.wait_for("EXISTS (SELECT FROM a)", seconds=60)
    running.send_signal(signal.SIGTERM)
    assert service.end(running).code == 143
    outcome = service.mooring()
    assert outcome.code == 31
    assert outcome.problems == [
        "1_a.sql: statement 2 was begun outside a transaction, and nobody knows whether it is done"
    ]
    hint = outcome.event("failed")["hint"]
    database.sql(hint.partition("If it is: ")[2].partition(";")[0])
    assert service.mooring().code == 0
    assert database.sql("SELECT count(*) FROM a") == [(1,)]


@pytest.mark.parametrize(
    "setting",
    [
        "statement_timeout = '150ms'",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "idle_in_transaction_session_timeout = '1ms'",
        "search_path = app",
        "role = {owner}",
        "standard_conforming_strings = off",
        "client_min_messages = error",
    ],
)
def test_what_a_role_is_set_to_does_not_break_a_run(
    make_service: MakeService, database: Database, setting: str
) -> None:
    name = database.url.rpartition("/")[2]
    app, owner = f"app_{name}", f"owner_{name}"
    database.sql(f"CREATE ROLE {owner}; CREATE ROLE {app} LOGIN IN ROLE {owner}; CREATE SCHEMA app")
    database.sql(f"GRANT ALL ON SCHEMA public, app TO {owner}, {app}")
    database.sql(f"ALTER ROLE {app} IN DATABASE {name} SET {setting.format(owner=owner)}")
    service = make_service(
        _1_a="CREATE TABLE a (x int); SELECT pg_sleep(0.2);",
        _2_b=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_x ON a (x);",
    )
    url = database.url.replace("postgres@", f"{app}@")
    for _ in range(2):
        assert service.mooring(DATABASE_URL=url).code == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path = ''",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SET ROLE {nobody}",
        "SET SESSION AUTHORIZATION {nobody}",
        "SET statement_timeout = 0",
        "SET lock_timeout = '10ms'",
        "SET default_transaction_read_only = on",
        "SET client_encoding = 'LATIN1'",
        "SET standard_conforming_strings = off",
        "SELECT pg_advisory_unlock_all()",
        "LISTEN something; NOTIFY something",
        "SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a",
        "DEALLOCATE ALL",
    ],
)
def test_what_a_migration_does_to_its_session_does_not_break_the_records(
    make_service: MakeService, database: Database, statement: str
) -> None:
    nobody = f"nobody_{database.url.rpartition('/')[2]}"
    database.sql(f"CREATE ROLE {nobody}")
    statement = statement.format(nobody=nobody)
    service = make_service(
        _1_a=f"CREATE TABLE public.a (); {statement};", _2_b=f"{statement};", _3_c="SELECT 2;", _4_d="CREATE nonsense;"
    )
    assert service.mooring().code == 30
    service.write(_4_d="SELECT 3;")
    assert service.mooring().code == 0
    assert database.sql("SELECT count(*) FROM public.goose_ingestion_ledger") == [(5,)]


def test_a_failure_is_told_although_nothing_more_can_be_written(make_service: MakeService) -> None:
    service = make_service(
        _1_a="CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$;"
        " CREATE TRIGGER full_disk BEFORE UPDATE ON goose_ingestion_ledger FOR EACH ROW EXECUTE FUNCTION full_disk();",
        _2_b="CREATE nonsense;",
    )
    outcome = service.mooring()
    assert outcome.code == 30
    assert outcome.last_word.startswith('exit 30: 2_b.sql:2:8: syntax error at or near "nonsense"')


def test_a_migration_that_discards_all_does_not_lose_the_lock(make_service: MakeService, database: Database) -> None:
    brake = "SELECT pg_advisory_xact_lock(77);"
    service = make_service(_1_a=f"{NO_TRANSACTION}DISCARD ALL;\n{brake}\nCREATE TABLE a ();")
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        first = service.start()
        database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
        assert service.mooring(LOCK_WAIT="300ms").code == 40
    assert service.end(first).code == 0


def test_the_ledger_keeps_a_migration_from_running_twice_even_without_the_lock(
    make_service: MakeService, database: Database
) -> None:
    """A migration gives all locks away; the other runner, which takes them, finds that it was overtaken."""
    brake = "SELECT pg_advisory_xact_lock(77);"
    service = make_service(_1_a="SELECT pg_advisory_unlock_all();", _2_b=f"INSERT INTO once VALUES (1); {brake}")
    database.sql("CREATE TABLE once (x int)")
    with psycopg.connect(database.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(77)")
        first = service.start()
        database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
        second = service.start()
        database.wait_for("2 = (SELECT count(*) FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
    outcomes = [service.end(first), service.end(second)]
    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert database.sql("SELECT * FROM once") == [(1,)]


def test_a_long_statement_says_that_it_goes_on_and_whom_it_waits_for(
    make_service: MakeService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mooring.watch._EVERY", 0.2)
    database.sql("CREATE TABLE a ()")
    service = make_service(_1_a="LOCK TABLE a;")
    with holder(database) as other:
        release = threading.Timer(1.5, other.close)
        release.start()
        outcome = service.mooring(LOCK_TIMEOUT="60s")
    event = next(event for event in outcome.events if event["event"] == "still running")
    assert event["doing"] == "applying migrations"
    assert event["blocked_by"][0].startswith("pid ")
    assert "application web" in event["blocked_by"][0]
    assert outcome.code == 0


def test_the_next_pod_is_not_blocked_by_one_that_was_killed(make_service: MakeService, database: Database) -> None:
    service = make_service(_1_a="CREATE TABLE a (); SELECT pg_sleep(100);")
    running = service.start()
    database.wait_for("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')", seconds=60)
    running.kill()
    service.end(running)
    service.write(_1_a="CREATE TABLE a ();")
    outcome = service.mooring(LOCK_WAIT="15s")
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 1)
