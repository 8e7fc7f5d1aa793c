"""Every wait has an end, and says what it waits for, but not all the time; and whoever is in the way is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from mooring.errors import Terminated
from mooring.lock import key
from mooring.names import TableName
from tests.faults.pgbouncer import pgbouncer
from tests.postgres.conftest import Database, MakeService, Service


NO_TRANSACTION = "-- +goose NO TRANSACTION\n-- +goose Up\n"


@pytest.fixture(params=["direct", "behind a pooler"])
def url(request: pytest.FixtureRequest, database: Database, server: str) -> Iterator[str]:
    """Two ways to the database. PgBouncer tells its clients process ids that the server does not know."""
    with ExitStack() as stack:
        if request.param == "direct":
            yield database.url
        else:
            yield stack.enter_context(pgbouncer(server)).url(database.url.rpartition("/")[2])


def test_an_index_that_takes_long_says_how_far_it_is(
    make_service: MakeService, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mooring.watch._EVERY", 0.1)
    database.sql("CREATE TABLE a (x int)")
    service = make_service(_1_a=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_x ON a (x);")
    with psycopg.connect(database.url, application_name="web") as other:
        other.execute("INSERT INTO a VALUES (1)")
        pid = other.info.backend_pid
        release = threading.Timer(1.5, other.close)
        release.start()
        outcome = service.mooring(DATABASE_URL=url)
        release.join()
    assert outcome.code == 0
    event = outcome.event("still running")
    assert event["doing"] == "applying migrations"
    assert event["progress"] == "waiting for writers before build: 0 of 0 blocks, 0 of 0 tuples"
    assert event["waits_for"] == "virtualxid"
    [blocker] = event["blocked_by"]
    assert blocker.startswith(f"pid {pid}, user postgres, application web, idle in transaction since ")
    assert blocker.endswith(": INSERT INTO a VALUES (1)")


def test_a_table_that_others_hold_is_said_to_be_waited_for(make_service: MakeService, database: Database) -> None:
    database.sql("CREATE TABLE a ()")
    service = make_service(_1_a="ALTER TABLE a ADD x int;")
    with psycopg.connect(database.url, application_name="web") as other:
        other.execute("LOCK TABLE a IN ACCESS SHARE MODE")
        outcome = service.mooring(LOCK_TIMEOUT="100ms")
    assert outcome.code == 41
    event = outcome.event("waiting for table")
    assert (event["file"], event["reason"]) == ("1_a.sql", "canceling statement due to lock timeout")


@pytest.mark.parametrize(("quiet", "times"), [(15, {1}), (0.5, {2, 3, 4})])
def test_a_wait_is_said_once_in_a_while(
    ingestion: Service, database: Database, monkeypatch: pytest.MonkeyPatch, quiet: float, times: set[int]
) -> None:
    """The service's lock is tried many times in 1.5 s."""
    monkeypatch.setattr("mooring.report._QUIET_SECONDS", quiet)
    with psycopg.connect(database.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key(TableName("public", "goose_ingestion"))])
        outcome = ingestion.mooring(LOCK_WAIT="1500ms")
    assert outcome.code == 40
    assert len([event for event in outcome.events if event["event"] == "waiting for lock"]) in times


def test_a_server_that_cannot_be_reached_is_said_to_be_waited_for_once_in_a_while(ingestion: Service) -> None:
    outcome = ingestion.mooring(DATABASE_URL="postgresql://u@127.0.0.1:1/x", WAIT="2s")
    assert outcome.code == 10
    assert "Connection refused" in outcome.event("waiting for database")["reason"]


def test_the_wait_for_the_tools_own_lock_has_an_end(make_service: MakeService, database: Database) -> None:
    """golang-migrate's key for this version table, from its command's way of starting."""
    service = make_service()
    service.put("1_a.up.sql", "CREATE TABLE a ();")
    name = f"public\0golang_migrate_ingestion\0/{database.url.rpartition('/')[2]}"
    with psycopg.connect(database.url, autocommit=True, application_name="migrate") as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [(zlib.crc32(name.encode()) * 1486364155) & 0xFFFFFFFF])
        pid = holder.info.backend_pid
        outcome = service.mooring(LOCK_WAIT="300ms")
    assert outcome.code == 40
    assert outcome.problems[0].startswith(f"golang_migrate_ingestion is being migrated by migrate (pid {pid}, ")
    assert outcome.event("waiting for lock")["application"] == "migrate"


def test_a_ledger_that_somebody_keeps_to_himself_is_read_again(make_service: MakeService, database: Database) -> None:
    """Just when the last file is committed, so that the proof cannot read it within MOORING_LOCK_TIMEOUT."""
    ledger = "goose_ingestion_ledger"
    service = make_service(
        _1_a="CREATE TABLE a (); SET LOCAL lock_timeout = 0;"
        f" LOCK TABLE {ledger} IN ACCESS SHARE MODE; SELECT pg_advisory_xact_lock(77);"
    )
    other = psycopg.connect(database.url)
    with psycopg.connect(database.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = service.start(LOCK_TIMEOUT="300ms")
        database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
        takes = threading.Thread(target=other.execute, args=(f"LOCK TABLE {ledger} IN ACCESS EXCLUSIVE MODE",))
        takes.start()
        database.wait_for(f"EXISTS (SELECT FROM pg_locks WHERE relation = '{ledger}'::regclass AND NOT granted)")
    takes.join()
    assert running.stdout is not None
    events = (json.loads(line)["event"] for line in running.stdout)
    assert "beginning again" in events
    assert "waiting for version table" in events
    other.close()
    assert service.end(running).code == 0


def test_services_whose_locks_have_the_same_key_are_told_so(
    make_service: MakeService, ingestion: Service, database: Database
) -> None:
    """goose's library has one key for all services, unless each is given another."""
    message = (
        "eventhandler is another service, whose lock has the same key: it has the same version table, or the same lock of"
        " its tool"
    )
    other = make_service("eventhandler", _1_a="SELECT pg_advisory_xact_lock(77);")
    with psycopg.connect(database.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = other.start(LOCK_ID="4711")
        database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
        outcome = ingestion.mooring(LOCK_ID="4711", LOCK_WAIT="300ms")
    assert other.end(running).code == 0
    assert outcome.code == 40
    assert outcome.event("waiting for lock")["message"] == message
    assert outcome.problems[1] == message


def test_a_statement_has_an_end_where_one_is_set(make_service: MakeService) -> None:
    outcome = make_service(_1_a="SELECT pg_sleep(100);").mooring(STATEMENT_TIMEOUT="200ms")
    assert outcome.code == 30
    assert outcome.problems == ["1_a.sql:2:1: canceling statement due to statement timeout"]


@pytest.fixture
def small_disk(tmp_path: Path, database: Database) -> Iterator[Path]:
    """A file system of a few megabytes, which is where the database's tables go from now on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    for folder in (disk, *list(disk.parents)[:3]):
        folder.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", str(disk)], check=True)
    space = disk / "space"
    space.mkdir()
    shutil.chown(space, "nobody", "nogroup")
    name = database.url.rpartition("/")[2]
    server = Database(f"{database.url.rpartition('/')[0]}/postgres")
    server.sql(f"CREATE TABLESPACE small_{name} LOCATION '{space}'")
    server.sql(f"ALTER DATABASE {name} SET default_tablespace = small_{name}")
    yield disk
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.sql(f"DROP TABLESPACE small_{name}")
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_is_full_fails_the_file_and_nothing_else(make_service: MakeService, database: Database) -> None:
    service = make_service(
        _1_a="CREATE TABLE a (x text);",
        _2_b="INSERT INTO a SELECT repeat('x', 1000) FROM generate_series(1, 100000);\nCREATE TABLE b ();",
    )
    outcome = service.mooring()
    assert outcome.code == 30
    assert "No space left on device" in outcome.problems[0]
    assert outcome.event("failed")["sqlstate"] == "53100"
    assert database.tables() == {"a"}
    service.write(_2_b="INSERT INTO a VALUES ('x');\nCREATE TABLE b ();")
    assert service.mooring().event("done")["applied"] == 1
    assert database.sql("SELECT * FROM a") == [("x",)]


def test_a_file_that_failed_at_its_first_statement_can_be_corrected(
    make_service: MakeService, database: Database
) -> None:
    """Nothing of a non-transactional file has run then: there is nothing that nobody can know."""
    service = make_service(_1_a=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_x ON nowhere (x);")
    assert service.mooring().code == 30
    database.sql("CREATE TABLE a (x int)")
    service.write(_1_a=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_x ON a (x);")
    assert service.mooring().event("done")["applied"] == 1
    assert service.mooring("verify").code == 0


def test_a_dirty_mark_of_a_runner_that_was_killed_is_known_to_be_its_own(
    make_service: MakeService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger knows of a non-transactional file from the moment at which golang-migrate's row is dirty."""
    database.sql("CREATE TABLE a (x int)")
    service = make_service()
    service.put("1_a.up.sql", "CREATE INDEX CONCURRENTLY a_x ON a (x);")

    def killed(*_: object) -> NoReturn:
        raise Terminated

    with monkeypatch.context() as patch:
        patch.setattr("mooring.steps._one_unit", killed)
        assert service.mooring().code == 143
    assert database.sql("SELECT version, dirty FROM golang_migrate_ingestion") == [(1, True)]
    assert service.mooring().code == 0
    assert database.sql("SELECT version, dirty FROM golang_migrate_ingestion") == [(1, False)]
