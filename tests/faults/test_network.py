"""What a runner that is gone leaves behind, or a network that is cut: nothing that blocks the next pod for over 15 s."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from tests.faults.pgbouncer import pgbouncer
from tests.faults.proxy import Proxy
from tests.postgres.conftest import Database, MakeService, Service


LONGEST = 15.0
"""Seconds until the next pod has to be through: the promise itself."""
SLEEPS = "pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
FIREWALL = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("iptables"), reason="only root can drop packets, with iptables"
)


def killed(service: Service, running: subprocess.Popen[str]) -> float:
    """End a runner as nothing can prevent; when that was."""
    begun = time.monotonic()
    running.kill()
    service.end(running)
    return begun


def next_pod(service: Service, begun: float, what: str) -> None:
    """The next pod, with a file that does not sleep any more, is through in time and has run it."""
    service.write(_1_a="CREATE TABLE a ();")
    outcome = service.mooring(LOCK_WAIT="30s")
    seconds = time.monotonic() - begun
    with service.capsys.disabled():
        print(f"\n{what}: the next pod is through after {seconds:.1f} s")
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 1)
    assert seconds < LONGEST


@contextmanager
def dropped(port: int) -> Iterator[None]:
    """No packet from or to a client's port arrives."""
    rules = [["INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP"] for side in ("--sport", "--dport")]
    for rule in rules:
        subprocess.run(["iptables", "-w", "-I", *rule], check=True, capture_output=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-D", *rule], check=True, capture_output=True)


@pytest.fixture
def sleeper(make_service: MakeService) -> Service:
    """A service whose only file would take long."""
    return make_service(_1_a="CREATE TABLE a (); SELECT pg_sleep(100);")


def test_a_runner_that_is_killed_in_a_statement(sleeper: Service, database: Database) -> None:
    running = sleeper.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})", seconds=60)
    next_pod(sleeper, killed(sleeper, running), "SIGKILL in a statement")


def test_a_runner_that_is_killed_behind_a_pooler(sleeper: Service, database: Database, server: str) -> None:
    with pgbouncer(server) as pooler:
        running = sleeper.start(DATABASE_URL=pooler.url(database.url.rpartition("/")[2]))
        database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})", seconds=60)
        next_pod(sleeper, killed(sleeper, running), "SIGKILL behind PgBouncer")


@FIREWALL
def test_a_node_that_is_gone_in_a_statement(sleeper: Service, database: Database) -> None:
    """No packet comes from it any more, not even one that says so."""
    running = sleeper.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})", seconds=60)
    [(port,)] = database.sql(f"SELECT client_port FROM {SLEEPS}")
    with dropped(port):
        next_pod(sleeper, killed(sleeper, running), "node gone in a statement")


@FIREWALL
def test_a_node_that_is_gone_between_statements(make_service: MakeService, database: Database) -> None:
    """Its session has the lock, and nothing to do."""
    service = make_service(_1_a="CREATE TABLE a (); SELECT pg_sleep(1);")
    running = service.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})", seconds=60)
    [(port,)] = database.sql(f"SELECT client_port FROM {SLEEPS}")
    with dropped(port):
        begun = killed(service, running)
        service.write(_2_b="CREATE TABLE b ();")
        outcome = service.mooring(LOCK_WAIT="30s")
        seconds = time.monotonic() - begun
    with service.capsys.disabled():
        print(f"\nnode gone between statements: the next pod is through after {seconds:.1f} s")
    assert outcome.code == 0
    assert seconds < LONGEST
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,), (2,)]


@FIREWALL
def test_a_runner_on_a_cut_network_is_told_so_and_goes_on_when_it_is_back(
    make_service: MakeService, database: Database
) -> None:
    service = make_service(_1_a="CREATE TABLE a (); SELECT pg_sleep(5);")
    running = service.start()
    database.wait_for(f"EXISTS (SELECT FROM {SLEEPS})", seconds=60)
    [(port,)] = database.sql(f"SELECT client_port FROM {SLEEPS}")
    with dropped(port):
        outcome = service.end(running)
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,)]


def test_a_connection_that_something_in_between_keeps_without_carrying_it(
    make_service: MakeService, database: Database, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the idle session, so that its lock is free; the runner sees that its process is gone, and goes on."""
    monkeypatch.setattr("mooring.watch._EVERY", 1.0)
    service = make_service(_1_a="CREATE TABLE a (); SELECT pg_advisory_xact_lock(77);")
    host, _, port = server.rpartition("@")[2].partition(":")
    with closing(Proxy(host, int(port))) as proxy, psycopg.connect(database.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")

        def stall() -> None:
            database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
            proxy.stall()
            brake.execute("SELECT pg_advisory_unlock(77)")

        thread = threading.Thread(target=stall)
        thread.start()
        begun = time.monotonic()
        outcome = service.mooring(DATABASE_URL=database.url.replace(f":{port}/", f":{proxy.port}/"))
        thread.join()
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    assert time.monotonic() - begun < 2 * LONGEST
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,)]


def test_a_runner_that_is_gone_behind_something_that_keeps_its_connection(
    make_service: MakeService, database: Database, server: str
) -> None:
    """A load balancer, or a sidecar: its own TCP says that all is well."""
    service = make_service(_1_a="CREATE TABLE a (); SELECT pg_advisory_xact_lock(77);")
    host, _, port = server.rpartition("@")[2].partition(":")
    with closing(Proxy(host, int(port))) as proxy:
        with psycopg.connect(database.url, autocommit=True) as brake:
            brake.execute("SELECT pg_advisory_lock(77)")
            running = service.start(DATABASE_URL=database.url.replace(f":{port}/", f":{proxy.port}/"))
            database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=60)
            proxy.stall()
            running.kill()
            service.end(running)
        begun = time.monotonic()
        service.write(_2_b="CREATE TABLE b ();")
        outcome = service.mooring(LOCK_WAIT="30s")
        seconds = time.monotonic() - begun
    with service.capsys.disabled():
        print(f"\nrunner gone behind a proxy that stalls: the next pod is through after {seconds:.1f} s")
    assert outcome.code == 0
    assert seconds < LONGEST
