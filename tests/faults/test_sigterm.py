"""SIGTERM in every phase of a run: within two seconds it is over, nothing is half done, and the last word says so."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from mooring.lock import key
from mooring.names import TableName
from tests.postgres.conftest import Database, MakeService, Outcome, Service, first_lines
from tests.support import eventually


LONGEST = 2.0
"""Seconds that the end may take."""
BRAKE = "SELECT pg_advisory_xact_lock(77);"
BRAKED = "EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)"
OURS = "pg_stat_activity WHERE application_name LIKE 'mooring%' AND datname = current_database()"
Running = subprocess.Popen[str]


def terminated(service: Service, running: Running, doing: str) -> Outcome:
    """End a run: in time, with 143, with a last word, and without anything of it left on the server."""
    begun = time.monotonic()
    running.send_signal(signal.SIGTERM)
    outcome = service.end(running)
    seconds = time.monotonic() - begun
    assert outcome.code == 143
    assert seconds < LONGEST
    assert outcome.last_word == f"exit 143: terminated while {doing}; what was not committed is rolled back"
    service.database.wait_for(f"NOT EXISTS (SELECT FROM {OURS})", seconds=LONGEST)
    service.database.wait_for("NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid <> 77)", 1)
    with service.capsys.disabled():
        print(f"\nSIGTERM while {doing}: {seconds:.2f} s")
    return outcome


def brake(database: Database) -> psycopg.Connection[tuple[object, ...]]:
    """Keep every statement waiting that asks for the lock 77."""
    connection = psycopg.connect(database.url, autocommit=True)
    connection.execute("SELECT pg_advisory_lock(77)")
    return connection


def test_while_connecting_to_a_server_that_hangs(ingestion: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        running = ingestion.start(DATABASE_URL=f"postgresql://u@127.0.0.1:{port}/x", WAIT="60s")
        silent.settimeout(60)
        client, _ = silent.accept()
        with client:
            # The attempt may have begun long before there was anything to report.
            assert '"started"' in first_lines(running, 1)[0]
            terminated(ingestion, running, "connecting")


@pytest.mark.parametrize("connected", [True, False])
def test_while_waiting_for_the_lock(ingestion: Service, database: Database, *, connected: bool) -> None:
    """A run that waits for long does so without a connection."""
    with psycopg.connect(database.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key(TableName("public", "goose_ingestion"))])
        running = ingestion.start()
        assert "waiting for lock" in first_lines(running, 2)[-1]
        if not connected:
            database.wait_for(f"NOT EXISTS (SELECT FROM {OURS})", seconds=20)
        begun = time.monotonic()
        running.send_signal(signal.SIGTERM)
        outcome = ingestion.end(running)
        assert time.monotonic() - begun < LONGEST
        assert outcome.code == 143
        # Either without a connection, or a moment after it made one again.
        doing = outcome.last_word.removeprefix("exit 143: terminated while ").partition(";")[0]
        assert doing in {"waiting for the lock", "connecting", "reading what has run"}
        database.wait_for(f"NOT EXISTS (SELECT FROM {OURS})", seconds=LONGEST)


def test_inside_a_statement(make_service: MakeService, database: Database) -> None:
    service = make_service(_1_a="CREATE TABLE a ();", _2_b=f"CREATE TABLE b (); {BRAKE}")
    with brake(database):
        running = service.start()
        database.wait_for(BRAKED, seconds=60)
        terminated(service, running, "applying migrations")
    assert database.tables() == {"a"}, "what was committed is kept, and nothing else"
    assert service.mooring().event("done")["applied"] == 1


def test_between_files(make_service: MakeService, database: Database) -> None:
    """Where nobody reads the log, the run stands still between two files as soon as the pipe is full."""
    files = 1000
    service = make_service(**{f"_{number:05}_a": f"CREATE TABLE a{number} ();" for number in range(1, files + 1)})
    running = service.start()
    database.wait_for(
        f"EXISTS (SELECT FROM {OURS} AND wait_event = 'ClientWrite') OR (SELECT count(*) > 300 FROM pg_tables)", 60
    )
    eventually(lambda: stands_still(running) or None, lambda: "it still runs")
    begun = time.monotonic()
    running.send_signal(signal.SIGTERM)
    running.wait(30)
    assert time.monotonic() - begun < LONGEST
    outcome = service.outcome(running.returncode, "")
    assert running.stdout is not None
    running.stdout.close()
    assert outcome.code == 143
    assert outcome.last_word == "exit 143: terminated while applying migrations; what was not committed is rolled back"
    database.wait_for(f"NOT EXISTS (SELECT FROM {OURS})", seconds=LONGEST)
    done = len(database.tables())
    assert service.mooring().event("done")["applied"] == files - done


def stands_still(running: Running) -> bool:
    """Whether a process waits for room in a pipe."""
    return "pipe_write" in Path(f"/proc/{running.pid}/wchan").read_text(encoding="ascii")


def test_in_proof(make_service: MakeService, database: Database) -> None:
    """Somebody takes the ledger for himself just when the last file is committed."""
    ledger = "goose_ingestion_ledger"
    service = make_service(_1_a=f"CREATE TABLE a (); LOCK TABLE {ledger} IN ACCESS SHARE MODE; {BRAKE}")
    other = psycopg.connect(database.url)
    with brake(database) as braking:
        running = service.start(LOCK_TIMEOUT="60s")
        database.wait_for(BRAKED, seconds=60)
        takes = threading.Thread(target=other.execute, args=(f"LOCK TABLE {ledger} IN ACCESS EXCLUSIVE MODE",))
        takes.start()
        database.wait_for(f"EXISTS (SELECT FROM pg_locks WHERE relation = '{ledger}'::regclass AND NOT granted)")
        braking.execute("SELECT pg_advisory_unlock(77)")
        takes.join()
        database.wait_for(f"EXISTS (SELECT FROM {OURS} AND wait_event_type = 'Lock')")
        terminated(service, running, "proving")
    other.close()
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 0)


@pytest.mark.parametrize("rows", [1, 200_000])
def test_inside_the_data_of_a_copy(make_service: MakeService, database: Database, rows: int) -> None:
    """All of the data may be on its way already, or the server may not want more of it yet."""
    service = make_service()
    service.put(
        "V1__a.sql",
        "CREATE TABLE a (x text);\nCREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {BRAKE.replace('SELECT', 'PERFORM')} RETURN NEW; END $$;\n"
        "CREATE TRIGGER f BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();\nCOPY a FROM STDIN;\n"
        + "a row that is as long as it needs to be to fill what is on its way\n" * rows
        + "\\.\n",
    )
    with brake(database):
        running = service.start()
        database.wait_for(BRAKED, seconds=60)
        terminated(service, running, "applying migrations")
    assert database.sql("SELECT to_regclass('a')") == [(None,)]
    service.put("V1__a.sql", "CREATE TABLE a ();")
    assert service.mooring().event("done")["applied"] == 1


def test_inside_a_statement_that_cannot_be_in_a_transaction(make_service: MakeService, database: Database) -> None:
    """The index that is left is invalid; the next run drops it and makes it anew."""
    database.sql("CREATE TABLE a (x int)")
    service = make_service(_1_a="-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY a_x ON a (x);")
    with psycopg.connect(database.url) as other:
        other.execute("INSERT INTO a VALUES (1)")
        running = service.start()
        database.wait_for(
            f"EXISTS (SELECT FROM {OURS} AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock')", 60
        )
        terminated(service, running, "applying migrations")
    assert service.mooring().event("done")["applied"] == 1
    assert database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::regclass") == [(True,)]


def test_before_the_settings_are_read(ingestion: Service, tmp_path: Path) -> None:
    """A setting's file that does not end keeps the run where it has nothing yet but its handler."""
    file = tmp_path / "fifo"
    os.mkfifo(file)
    running = ingestion.start(DATABASE_URL="", DATABASE_URL_FILE=str(file))
    with file.open("w", encoding="utf-8"):
        begun = time.monotonic()
        running.send_signal(signal.SIGTERM)
        output, _ = running.communicate(timeout=30)
    assert time.monotonic() - begun < LONGEST
    assert running.returncode == 143
    assert json.loads(output).items() >= {"event": "terminated", "while": "starting"}.items()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a namespace of its own, to be its first process")
def test_as_the_first_process_of_a_container_while_it_is_being_imported(tmp_path: Path) -> None:
    """Linux does not give such a process a signal that it has no handler for: it would run on until it is killed."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "structlog.py").write_text(f"open({str(fifo)!r}).read()", encoding="utf-8")
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "mooring", "up"]
    running = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    with fifo.open("w", encoding="utf-8"):
        [child] = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text(encoding="ascii").split()
        begun = time.monotonic()
        os.kill(int(child), signal.SIGTERM)
        assert running.wait(30) == 143
    assert time.monotonic() - begun < LONGEST
