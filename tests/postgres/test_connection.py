"""Reaching the database: what is worth waiting for, what is not, and what a user reads then."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from mooring import embedded
from mooring.database import begin, connect
from mooring.errors import DatabaseUnreachable
from mooring.settings import Settings, load
from tests.postgres.conftest import Database, MakeService, Service, first_lines


def test_a_server_that_refuses_is_tried_until_the_wait_is_over(ingestion: Service) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        outcome = ingestion.mooring(DATABASE_URL=f"postgresql://u:hunter2@127.0.0.1:{port}/x", WAIT="1s")
    assert outcome.code == 10
    assert outcome.last_word.startswith(
        f'exit 10: connection to server at "127.0.0.1", port {port} failed: Connection refused'
    )
    assert outcome.problems[0].endswith("(tried for 1 s)")
    assert "hunter2" not in outcome.output + outcome.last_word


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_hangs_is_given_up(ingestion: Service, silent: int) -> None:
    outcome = ingestion.mooring(DATABASE_URL=f"postgresql://u@127.0.0.1:{silent}/x?sslmode=disable", WAIT="2s")
    assert outcome.code == 10
    assert "timeout" in outcome.problems[0]


def test_a_server_that_comes_up_later_is_waited_for(make_service: MakeService) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = make_service(_1_a="CREATE TABLE a ();")
    running = service.start(DATABASE_URL=f"postgresql://postgres@127.0.0.1:{port}/postgres", WAIT="60s")
    assert "waiting for database" in first_lines(running, 2)[-1]
    with embedded.server(settings={"port": str(port)}):
        assert service.end(running).code == 0


def test_a_wrong_password_is_not_tried_again(ingestion: Service) -> None:
    with embedded.server(settings={"password_encryption": "scram-sha-256"}) as url:
        admin = Database(f"{url}/postgres")
        admin.sql("CREATE ROLE app LOGIN PASSWORD 'right'")
        [(hba,)] = admin.sql("SHOW hba_file")
        admin.sql(
            f"COPY (SELECT 'host all app all scram-sha-256' UNION ALL SELECT 'host all all all trust') TO '{hba}'"
        )
        admin.sql("SELECT pg_reload_conf()")
        admin.wait_for("count(*) = 2 FROM pg_hba_file_rules")
        outcome = ingestion.mooring(DATABASE_URL=f"{url}/postgres".replace("postgres@", "app:wr0ng@"), WAIT="60s")
    assert outcome.code == 11
    assert outcome.problems[0].endswith('FATAL: password authentication failed for user "app"')
    assert "wr0ng" not in outcome.output + outcome.last_word


def test_a_database_that_is_not_there_is_waited_for_and_named(ingestion: Service, server: str) -> None:
    outcome = ingestion.mooring(DATABASE_URL=f"{server}/nowhere", WAIT="1s")
    assert outcome.code == 10
    assert 'FATAL: database "nowhere" does not exist' in outcome.problems[0]
    assert outcome.event("failed")["hint"].startswith("CREATE DATABASE it first")


def test_a_role_that_may_not_create_tables_is_told_what_to_grant(ingestion: Service, database: Database) -> None:
    database.sql("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = database.url.replace("postgres@", "poor@")
    outcome = ingestion.mooring(DATABASE_URL=url)
    assert outcome.code == 11
    assert outcome.problems == ["poor cannot make goose_ingestion: permission denied for schema public"]
    hint = outcome.event("failed")["hint"]
    assert hint == 'GRANT USAGE, CREATE ON SCHEMA "public" TO "poor";'
    database.sql(hint)
    assert ingestion.mooring(DATABASE_URL=url).code == 0


def test_a_role_that_may_not_read_the_version_table_is_told_what_to_grant(
    ingestion: Service, database: Database
) -> None:
    ingestion.mooring()
    database.sql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN")
    outcome = ingestion.mooring(DATABASE_URL=database.url.replace("postgres@", "reader@"))
    assert outcome.code == 11
    hint = 'GRANT SELECT, INSERT, UPDATE, DELETE ON "goose_ingestion", "goose_ingestion_ledger" TO "reader";'
    assert outcome.event("failed")["hint"] == hint
    database.sql(hint)
    assert ingestion.mooring(DATABASE_URL=database.url.replace("postgres@", "reader@")).code == 0


def test_a_connection_that_is_cut_is_made_again(make_service: MakeService, database: Database) -> None:
    service = make_service(_1_a="CREATE TABLE a ();", _2_b="SELECT pg_advisory_xact_lock(77); CREATE TABLE b ();")
    waits = "FROM pg_locks WHERE objid = 77 AND NOT granted"
    with psycopg.connect(database.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = service.start()
        database.wait_for(f"EXISTS (SELECT {waits})", seconds=60)
        database.sql(f"SELECT pg_terminate_backend(pid) {waits}")
    outcome = service.end(running)
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,), (2,)]


def settings_for(monkeypatch: pytest.MonkeyPatch, url: str) -> Settings:
    """The settings of a run, and an attempt to connect that was begun with them."""
    monkeypatch.setenv("MOORING_SERVICE", "orders")
    monkeypatch.setenv("MOORING_DATABASE_URL", url)
    begin(os.environ)
    return load()


def test_the_attempt_that_was_begun_is_the_one_that_is_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(monkeypatch, database.url)
    with closing(connect(settings, pytest.fail)) as connection:
        opened = "pg_stat_activity WHERE application_name = 'mooring orders' AND datname = current_database()"
        assert database.sql(f"SELECT array_agg(pid) FROM {opened}") == [([connection.info.backend_pid],)]


def test_an_attempt_for_another_database_than_the_settings_say_is_not_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings_for(monkeypatch, "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("MOORING_DATABASE_URL", database.url)
    with closing(connect(load(), pytest.fail)) as connection:
        assert connection.info.dbname == database.sql("SELECT current_database()")[0][0]


def test_what_was_begun_is_waited_for_no_longer_than_the_settings_say(
    monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    monkeypatch.setenv("MOORING_WAIT", "1s")
    settings = settings_for(monkeypatch, f"postgresql://u@127.0.0.1:{silent}/x?sslmode=disable")
    reasons: list[str] = []
    with pytest.raises(DatabaseUnreachable) as error:
        connect(settings, reasons.append)
    assert error.value.problems == ("connection timeout expired (tried for 1 s)",)
    assert not reasons
