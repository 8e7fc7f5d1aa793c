"""The service's lock: a session advisory lock, polled and never waited on.

A session that waits inside pg_advisory_lock holds a snapshot, and the CREATE INDEX CONCURRENTLY of the lock's holder waits
for that snapshot: a deadlock that PostgreSQL ends by failing one of them (hexpm/hexpm#1835).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mooring.names import TableName
from mooring.wire import Query, Row


class Overtaken(Exception):
    """Another runner did what this one was about to do."""


class LockHeld(Exception):
    """Another runner has the service's lock, and may have it for long."""


@dataclass
class Patience:
    """A run's wait for the service's lock, which may take many connections: others need them more than one that waits."""

    seconds: float
    """MOORING_LOCK_WAIT."""
    deadline: float = 0.0
    """When it is over; 0 while there is nothing to wait for."""
    pause: float = 0.0
    """Seconds until the lock is tried again: longer each time, because each try costs the server something."""
    checked: tuple[str, int] | None = None
    """The address behind which there is no pooler that would give the session away."""
    pooled: bool = False
    """Whether there is one that does not."""

    def over(self) -> None:
        """The lock is taken, or not needed."""
        self.deadline = self.pause = 0.0

    def wait(self) -> float:
        """Begin the wait, or go on with it; the seconds that are left."""
        self.deadline = self.deadline or time.monotonic() + self.seconds
        return self.deadline - time.monotonic()


def key(table: TableName) -> int:
    """The advisory lock's key: it belongs to the version table, because that is what two runners must not both write."""
    digest = hashlib.sha256(f"mooring\0{table.schema}\0{table.name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def attempt(keys: Sequence[int]) -> list[Query]:
    """Try to take locks, one after the other up to the first that is held, and ask who has any of them."""
    tries = " AND ".join(f"pg_catalog.pg_try_advisory_lock({one})" for one in keys)
    return [
        Query(f"SELECT CASE WHEN {tries} THEN 't' END"),
        Query(
            """SELECT a.pid, a.usename, a.application_name, coalesce(a.client_addr::text, 'a local socket'),
                pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() AND l.objsubid = 1
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
                AND (l.classid::bigint << 32 | l.objid::bigint) = ANY ($1::bigint[])""",
            ("{" + ",".join(map(str, keys)) + "}",),
            sync=True,
        ),
    ]


def answer(answers: Sequence[list[Row]]) -> tuple[bool, dict[str, str]]:
    """Whether `attempt`, whose answers are the last of these, got the lock, and otherwise who has it."""
    [[taken]], holders = answers[-2:]
    names = ("pid", "user", "application", "host", "since")
    return taken == "t", {name: value or "" for name, value in zip(names, holders[0] if holders else (), strict=False)}


def describe(holder: Mapping[str, str]) -> str:
    """Who has the lock, in words."""
    if not holder:
        return "a runner that the database does not show"
    return "{application} (pid {pid}, user {user}, from {host}, connected since {since})".format_map(holder)
