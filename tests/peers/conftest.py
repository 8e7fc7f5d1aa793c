"""The peers' real commands, on the PostgreSQL of Debian stable's predecessor and the newest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from mooring import embedded
from tests.postgres.conftest import Database, database, make_database, make_service
from tests.support import binaries_of


__all__ = [
    "database",
    "make_database",
    "make_service",
]  # the fixtures that these tests share with those of tests/postgres


@pytest.fixture(scope="session", params=[15, 18], ids="postgres-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server's URL without a database: 15 as Debian has it, 18 from the wheel."""
    with embedded.server(request.param, binaries=binaries_of(request.param)) as url:
        yield url


def run(*command: str | Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert result.returncode == 0, f"{command[0]}: {result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def schema(database: Database) -> str:
    """The schema as the server's own pg_dump has it, without Mooring's ledger, in which a peer has no part.

    Another version's pg_dump will not do: from 15.20 on, the server keeps marks of its own among a column's options
    (`pg_attver`), which only a pg_dump of that time leaves out.
    """
    with psycopg.connect(database.url) as connection:
        version = connection.info.server_version // 10000
    dump = run(binaries_of(version) / "pg_dump", "--schema-only", "--exclude-table=*_ledger", database.url)
    return "\n".join(
        line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict", "-- Dumped"))
    )
