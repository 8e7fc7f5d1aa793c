"""The service's lock: a session advisory lock, polled and never waited on.

A session that waits inside pg_advisory_lock holds a snapshot, and the CREATE INDEX CONCURRENTLY of the lock's holder waits
for that snapshot: a deadlock that PostgreSQL ends by failing one of them (hexpm/hexpm#1835).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mooring.names import TableName
from mooring.wire import Query, Row


def key(table: TableName) -> int:
    """The advisory lock's key: it belongs to the version table, because that is what two runners must not both write."""
    digest = hashlib.sha256(f"mooring\0{table.schema}\0{table.name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def attempt(table: TableName) -> list[Query]:
    """Try to take the lock, and ask who has it."""
    high, low = divmod(key(table) % 2**64, 2**32)
    return [
        Query("SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", (str(key(table)),)),
        Query(
            """SELECT a.pid, a.usename, a.application_name, coalesce(a.client_addr::text, 'a local socket'),
                pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid
                AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
                AND l.pid <> pg_catalog.pg_backend_pid()""",
            (str(high), str(low)),
            sync=True,
        ),
    ]


def answer(answers: Sequence[list[Row]]) -> tuple[bool, dict[str, str]]:
    """Whether `attempt`, to whose answers these belong, got the lock, and otherwise who has it."""
    [[taken]], holders = answers
    names = ("pid", "user", "application", "host", "since")
    return taken == "t", {name: value or "" for name, value in zip(names, holders[0] if holders else (), strict=False)}


def describe(holder: Mapping[str, str]) -> str:
    """Who has the lock, in words."""
    if not holder:
        return "a runner that the database does not show"
    return "{application} (pid {pid}, user {user}, from {host}, connected since {since})".format_map(holder)
