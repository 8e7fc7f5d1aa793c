"""A primary that goes away, a standby that takes its place, a server that is started again: each file runs once."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mooring import embedded
from tests.faults.harness import pg_ctl
from tests.postgres.conftest import Database, MakeService, Service, first_lines
from tests.support import binaries_of


BRAKED = "EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)"
FILES = {
    "_1_a": "CREATE TABLE ran (file int); INSERT INTO ran VALUES (1);",
    "_2_b": "INSERT INTO ran VALUES (2); SELECT pg_advisory_xact_lock(77);",
    "_3_c": "INSERT INTO ran VALUES (3);",
}


@dataclass
class Pair:
    """A primary and its standby."""

    binaries: Path
    primary: Database
    standby: Database
    primary_data: Path
    standby_data: Path

    @property
    def both(self) -> str:
        """A connection string that names the standby first."""
        hosts = ",".join(one.url.rpartition("@")[2].partition("/")[0] for one in (self.standby, self.primary))
        return f"postgresql://postgres@{hosts}/postgres"

    def promote(self) -> None:
        """Make the standby a primary."""
        pg_ctl(self.binaries, self.standby_data, "promote")

    def catch_up(self) -> None:
        """Wait until the standby has all that the primary has."""
        [(position,)] = self.primary.sql("SELECT pg_current_wal_lsn()")
        self.standby.wait_for(f"pg_last_wal_replay_lsn() >= '{position}'", seconds=60)


@pytest.fixture(scope="module", params=[15, 18], ids="postgres-{}".format)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pair(version: int) -> Iterator[Pair]:
    """A pair of servers of its own for each test, because they do not come back."""
    binaries = binaries_of(version)
    with embedded.server(version, binaries=binaries) as url, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        primary = Database(f"{url}/postgres")
        [(data,)] = primary.sql("SHOW data_directory")
        standby_data = Path(folder, "data")
        root = os.geteuid() == 0
        if root:
            shutil.chown(folder, "nobody", "nogroup")
        as_user: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if root else {}
        # The embedded server's programs are where its own user can reach them.
        [(bin_folder,)] = primary.sql("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        programs = Path(bin_folder) if Path(bin_folder, "pg_basebackup").exists() else binaries
        copy = [str(programs / "pg_basebackup"), "-D", str(standby_data), "-R", "-X", "stream", "-c", "fast", "-d", url]
        subprocess.run(copy, check=True, capture_output=True, cwd="/", **as_user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (standby_data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(f"port = {port}\nunix_socket_directories = '{folder}'\n")
        pg_ctl(programs, standby_data, "start")
        standby = Database(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        yield Pair(programs, primary, standby, Path(data), standby_data)
        pg_ctl(programs, standby_data, "stop", "-m", "immediate")
        if not (Path(data) / "postmaster.pid").exists():
            pg_ctl(programs, Path(data), "start")


@pytest.fixture
def database(pair: Pair) -> Database:
    """Where the services of these tests start."""
    return pair.primary


def ran_once(service: Service, database: Database) -> None:
    """Each file ran once, and is recorded once, and a run afterwards has nothing to do."""
    assert database.sql("SELECT file FROM ran ORDER BY file") == [(1,), (2,), (3,)]
    assert database.sql("SELECT version_id FROM goose_ingestion ORDER BY id") == [(0,), (1,), (2,), (3,)]
    again = service.mooring(DATABASE_URL=database.url)
    assert (again.code, again.event("done")["applied"]) == (0, 0)


def test_of_several_hosts_the_primary_is_taken(ingestion: Service, pair: Pair) -> None:
    assert ingestion.mooring(DATABASE_URL=pair.both).code == 0
    assert pair.primary.tables() == {"sources", "readings"}


def test_a_standby_is_no_place_to_migrate(ingestion: Service, pair: Pair) -> None:
    outcome = ingestion.mooring(DATABASE_URL=pair.standby.url, WAIT="1s")
    port = pair.standby.url.rpartition(":")[2].partition("/")[0]
    assert outcome.code == 10
    assert outcome.problems == [
        f'connection to server at "127.0.0.1", port {port} failed: server is in hot standby mode (tried for 1 s)'
    ]
    assert outcome.last_word.startswith(
        f'exit 10: connection to server at "127.0.0.1", port {port} failed: server is in hot standby mode (tried for 1 s). '
    )


def test_a_standby_that_is_promoted_is_waited_for(ingestion: Service, pair: Pair) -> None:
    running = ingestion.start(DATABASE_URL=pair.standby.url, WAIT="60s")
    lines = first_lines(running, 2)
    assert '"event": "waiting for database"' in lines[1]
    assert "server is in hot standby mode" in lines[1]
    pair.promote()
    assert ingestion.end(running).code == 0
    assert pair.standby.tables() == {"sources", "readings"}


def test_a_primary_that_is_lost_in_the_middle_of_a_file(make_service: MakeService, pair: Pair) -> None:
    """The standby has the first file, and the next ones run there."""
    service = make_service(**FILES)
    with psycopg.connect(pair.primary.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = service.start(DATABASE_URL=pair.both, WAIT="60s")
        pair.primary.wait_for(BRAKED, seconds=60)
        pair.catch_up()
        pg_ctl(pair.binaries, pair.primary_data, "stop", "-m", "immediate")
    pair.promote()
    outcome = service.end(running)
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    ran_once(service, pair.standby)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_started_again_in_the_middle_of_a_file(
    make_service: MakeService, pair: Pair, mode: str
) -> None:
    service = make_service(**FILES)
    with psycopg.connect(pair.primary.url, autocommit=True) as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = service.start(WAIT="60s")
        pair.primary.wait_for(BRAKED, seconds=60)
        pg_ctl(pair.binaries, pair.primary_data, "restart", "-m", mode)
    outcome = service.end(running)
    assert outcome.code == 0
    assert outcome.event("beginning again")["reason"]
    ran_once(service, pair.primary)
