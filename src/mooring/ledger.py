"""The ledger: Mooring's own record beside the version table.

One row says whose the version table is; then one for each migration: what it contained, when and how long it ran, and
which tables it made or altered that are still there. A non-transactional migration's row also says how far it got.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mooring.migration import Migration
from mooring.names import TableName, literal
from mooring.settings import LEDGER_SUFFIX
from mooring.wire import Query, Row


CLAIM = ""
"""The version of the row that only says which service the table belongs to."""


LEDGER_COLUMNS = (
    "version",
    "service",
    "name",
    "sha256",
    "applied_at",
    "duration_ms",
    "applied_by",
    "tables",
    "done",
    "doing",
)


class Entry(NamedTuple):
    """A migration's row, as far as a plan needs it."""

    name: str
    checksum: str
    done: int | None
    """How many of its statements are done; None when all are."""
    doing: bool
    """Whether the next one was begun outside a transaction, so that nobody knows whether it is done."""

    @property
    def complete(self) -> bool:
        """Whether all of it is done."""
        return self.done is None


class Details(NamedTuple):
    """A migration's row, as people want to see it."""

    version: str
    name: str
    applied_at: str
    duration_ms: int | None
    """None for a migration that another tool has run."""
    applied_by: str
    tables: list[str]
    """What it made or altered that is still there."""

    @classmethod
    def of(cls, row: Row) -> Details:
        """The details in an answer to `details`."""
        version, name, applied_at, duration, applied_by, tables = (column or "" for column in row)
        return cls(version, name, applied_at, int(duration) if duration else None, applied_by, json.loads(tables))


class Author(NamedTuple):
    """Who writes a row."""

    service: str
    runner: str
    """The host, which in a cluster is the pod."""


def ledger_of(table: TableName) -> TableName:
    """The ledger's name."""
    return TableName(table.schema, table.name + LEDGER_SUFFIX)


def details(table: TableName) -> Query:
    """Ask for every migration's row."""
    return Query(
        "SELECT version, name, pg_catalog.to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
        f" duration_ms, applied_by, pg_catalog.to_json(tables) FROM {ledger_of(table).sql} WHERE version <> $1",
        (CLAIM,),
    )


def create(table: TableName, author: Author) -> list[Query]:
    """Make the ledger and claim the version table for a service."""
    ledger = ledger_of(table)
    return [
        Query(f"""
            CREATE TABLE {ledger.sql} (
                version text PRIMARY KEY,
                service text NOT NULL,
                name text NOT NULL,
                sha256 text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                duration_ms bigint,
                applied_by text NOT NULL,
                tables text[] NOT NULL DEFAULT '{{}}',
                done integer,
                doing boolean NOT NULL DEFAULT false
            )"""),
        Query(
            f"COMMENT ON TABLE {ledger.sql} IS {literal(f'Mooring: what ran on {table.name}; see applied_by, tables')}"
        ),
        Query(
            f"INSERT INTO {ledger.sql} (version, service, name, sha256, applied_by) VALUES ($1, $2, '', '', $3)",
            (CLAIM, author.service, author.runner),
        ),
    ]


def adopt(table: TableName, author: Author, migration: Migration, tables: Collection[TableName]) -> Query:
    """Take over a migration that another tool has run: how long that took is not known."""
    return Query(
        f"""INSERT INTO {ledger_of(table).sql} (version, service, name, sha256, applied_by, tables)
            VALUES ($1, $2, $3, $4, $5, ARRAY(
                SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM unnest($6::text[]) t
                JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(t)
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1))""",
        (
            *(migration.version, author.service, migration.name, migration.checksum, f"adopted by {author.runner}"),
            array([one.sql for one in tables]),
        ),
    )


def forget(table: TableName, versions: Collection[str]) -> Query:
    """Drop the rows of migrations that are no longer applied: their tool rolled them back."""
    return Query(f"DELETE FROM {ledger_of(table).sql} WHERE version = ANY ($1::text[])", (array(versions),))


# What the transaction holds an AccessExclusiveLock on are the tables that it made, altered or dropped, however it did so.
_HELD = """
    held AS (
        SELECT l.relation AS oid, c.relkind, c.relpersistence, c.relispartition, n.nspname, c.relname,
            EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = -1
                AND a.xmin = pg_catalog.pg_current_xact_id()::xid) AS made_here
        FROM pg_catalog.pg_locks l
        LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
    ),
    touched AS (
        SELECT pg_catalog.format('%I.%I', nspname, relname) AS name FROM held
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relpersistence <> 't' AND NOT relispartition
            AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
    )"""
# Only a transaction that dropped or altered what was there before it, or renamed a schema, can have taken names away.
_TOOK_AWAY = """(
    EXISTS (SELECT FROM held WHERE relkind IS NULL OR (relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT made_here))
    OR EXISTS (SELECT FROM pg_catalog.pg_namespace
        WHERE pg_catalog.age(xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)))"""
_STANDS = "EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(t) AND NOT relispartition)"
# A transactional migration has no row yet; if it has, somebody else just ran it, and this transaction must not.
_GO_ON = f"""ON CONFLICT (version) DO UPDATE SET (name, sha256, applied_at, duration_ms, applied_by, tables, done, doing)
    = (excluded.name, excluded.sha256, excluded.applied_at, l.duration_ms + excluded.duration_ms, excluded.applied_by,
       ARRAY(SELECT t FROM unnest(l.tables) t WHERE {_STANDS} OR t = ANY ($7::text[])
             UNION SELECT unnest(excluded.tables) ORDER BY 1), excluded.done, false)"""


def record(
    table: TableName, author: Author, migration: Migration, lost: Sequence[str], done: int | None = None
) -> list[Query]:
    """Record, in the transaction that ran it, a migration or, if `done` is given, that many of its statements.

    `lost` are the tables that were missing before the run; what is missing beside them, this transaction took away. The
    query answers with the milliseconds since the transaction began.
    """
    ledger = ledger_of(table)
    return [
        Query(
            f"""WITH {_HELD}, gone AS (
                UPDATE {ledger.sql} SET tables = ARRAY(
                    SELECT t FROM unnest(tables) t WHERE {_STANDS} OR t = ANY ($7::text[]))
                WHERE version <> $1 AND {_TOOK_AWAY} AND EXISTS (
                    SELECT FROM unnest(tables) t WHERE NOT {_STANDS} AND t <> ALL ($7::text[])))
            INSERT INTO {ledger.sql} AS l (version, service, name, sha256, duration_ms, applied_by, tables, done)
            VALUES ($1, $2, $3, $4, 1000 * extract(epoch FROM clock_timestamp() - transaction_timestamp()), $5,
                ARRAY(SELECT name FROM touched ORDER BY name), $6::integer)
            {_GO_ON if migration.script.transactional is False else ""}
            RETURNING duration_ms""",
            (
                *(migration.version, author.service, migration.name, migration.checksum, author.runner),
                *(None if done is None else str(done), array(lost)),
            ),
        ),
    ]


def begin(table: TableName, author: Author, migration: Migration, done: int) -> Query:
    """Record that the statement after `done` others is about to run outside a transaction."""
    return Query(
        f"INSERT INTO {ledger_of(table).sql} (version, service, name, sha256, duration_ms, applied_by, done, doing)"
        " VALUES ($1, $2, $3, $4, 0, $5, $6::integer, true) ON CONFLICT (version) DO UPDATE SET (done, doing) ="
        " (excluded.done, true)",
        (
            *(migration.version, author.service, migration.name, migration.checksum, author.runner),
            str(done),
        ),
    )


def end(table: TableName, migration: Migration, done: int, milliseconds: int) -> Query:
    """Record how that statement ended: `done` is the number of statements that are done now."""
    return Query(
        f"UPDATE {ledger_of(table).sql} SET (done, doing, duration_ms) = ($2::integer, false, duration_ms + $3::bigint)"
        " WHERE version = $1",
        (migration.version, str(done), str(milliseconds)),
    )


def flush(table: TableName) -> Query:
    """Write something and nothing new: what was committed before this is, and did not wait for the disk, is there then."""
    return Query(f"UPDATE {ledger_of(table).sql} SET doing = doing WHERE version = $1", (CLAIM,))


def array(items: Collection[str]) -> str:
    """A text[] as PostgreSQL reads it."""
    return "{" + ",".join('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items) + "}"
