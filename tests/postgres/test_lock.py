"""One runner at a time for a service, and nobody waits in the dark."""

from __future__ import annotations

import json
import signal

import psycopg

from mooring.lock import key
from mooring.names import TableName
from tests.postgres.conftest import Database, MakeService, Service, first_lines


SLEEPS = "pg_stat_activity WHERE application_name LIKE 'mooring%' AND wait_event = 'PgSleep'"


def test_ten_runners_at_once_run_every_file_once(ingestion: Service, database: Database) -> None:
    runners = [ingestion.start() for _ in range(10)]
    outcomes = [ingestion.end(runner) for runner in runners]
    assert [outcome.code for outcome in outcomes] == [0] * 10
    assert sum(outcome.event("done")["applied"] for outcome in outcomes) == 2
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,), (2,)]


def test_a_waiter_says_who_has_the_lock_and_gives_up_in_time(ingestion: Service, database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True, application_name="mooring other pod") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key(TableName("public", "goose_ingestion"))])
        pid = holder.info.backend_pid
        outcome = ingestion.mooring(LOCK_WAIT="300ms")
    assert outcome.code == 40
    assert outcome.problems[0].startswith(
        f"goose_ingestion is being migrated by mooring other pod (pid {pid}, user postgres, from 127.0.0.1/32, connected since"
    )
    assert outcome.event("failed")["hint"].endswith(
        f"SELECT pg_terminate_backend({pid}); or wait longer with MOORING_LOCK_WAIT."
    )
    assert outcome.event("waiting for lock")["application"] == "mooring other pod"


def test_a_waiter_goes_on_when_another_runner_has_done_the_work(make_service: MakeService, database: Database) -> None:
    """It never needs the lock, so a herd of waiters does not queue up for it one after another."""
    service = make_service(_1_slow="SELECT pg_advisory_xact_lock(77); CREATE TABLE slow ();")
    with psycopg.connect(database.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        first = service.start()
        database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)")
        second = service.start()
        lines = first_lines(second, 2)
    assert service.end(first).event("done")["applied"] == 1
    ended = service.end(second)
    assert (ended.code, ended.event("done")["applied"]) == (0, 0)
    assert json.loads(lines[-1]).items() >= {"event": "waiting for lock", "application": "mooring ingestion"}.items()


def test_services_do_not_wait_for_each_other(
    make_service: MakeService, eventhandler: Service, database: Database
) -> None:
    slow = make_service("slow", _1_slow="SELECT pg_sleep(30);")
    running = slow.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})")
    assert eventhandler.mooring(LOCK_WAIT="1s").code == 0
    running.send_signal(signal.SIGTERM)
    assert slow.end(running).code == 143


def test_sigterm_cancels_rolls_back_and_unlocks(make_service: MakeService, database: Database) -> None:
    service = make_service(_1_fast="CREATE TABLE fast ();", _2_slow="CREATE TABLE slow (); SELECT pg_sleep(60);")
    running = service.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})")
    running.send_signal(signal.SIGTERM)
    outcome = service.end(running)
    assert outcome.code == 143
    assert outcome.last_word == "exit 143: terminated while applying migrations; what was not committed is rolled back"
    assert outcome.event("terminated")["while"] == "applying migrations"
    database.wait_for("NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')", seconds=2)
    assert database.tables() == {"fast"}
    service.write(_2_slow="CREATE TABLE slow ();")
    assert service.mooring(LOCK_WAIT="1s").event("done")["applied"] == 1


def test_sigterm_ends_the_wait_for_the_lock(ingestion: Service, database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key(TableName("public", "goose_ingestion"))])
        running = ingestion.start()
        assert "waiting for lock" in first_lines(running, 2)[-1]
        running.send_signal(signal.SIGTERM)
        assert ingestion.end(running).last_word.startswith("exit 143: terminated while waiting for the lock")
