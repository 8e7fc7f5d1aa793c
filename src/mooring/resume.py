"""What became of a statement that ran outside a transaction and whose end nobody saw.

Most such statements can be asked for in the catalog, or run again: an index is there and valid, or it is an invalid rest
that can be dropped. For the others only a person can know.
"""

from __future__ import annotations

import re
from functools import cache

from mooring.lexer import GAP, IDENTIFIER, NAME, Statement
from mooring.names import literal
from mooring.wire import Connection, Query, ask


@cache
def _pattern(words: str) -> re.Pattern[str]:
    """A statement's beginning, in which <name> and <table> stand for names. Compiled only where it is needed."""
    pattern = words.replace(" ", GAP).replace("<name>", f"(?P<name>{NAME})").replace("<table>", f"(?P<table>{NAME})")
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_CREATE_INDEX = "CREATE (?:UNIQUE )?INDEX CONCURRENTLY (?:IF NOT EXISTS )?<name> ON (?:ONLY )?<table>"
_DROP_INDEX = "DROP INDEX CONCURRENTLY (?:IF EXISTS )?<name>"
_DETACH = "ALTER TABLE (?:IF EXISTS )?(?:ONLY )?<table> DETACH PARTITION <name> CONCURRENTLY"
_CLUSTER_WIDE = "(?P<verb>CREATE|DROP) (?P<kind>DATABASE|TABLESPACE|SUBSCRIPTION) (?:IF EXISTS )?<name>"
_AGAIN = r"(?:REINDEX|VACUUM|ANALYZE|CLUSTER|ALTER SYSTEM|DISCARD|CHECKPOINT)\b"
_COLUMNS = {"DATABASE": "datname", "TABLESPACE": "spcname", "SUBSCRIPTION": "subname"}


def recoverable(statement: Statement) -> bool:
    """Whether `settle` can find out about a statement."""
    return any(
        _pattern(one).match(statement.text) for one in (_CREATE_INDEX, _DROP_INDEX, _DETACH, _CLUSTER_WIDE, _AGAIN)
    )


def settle(connection: Connection, statement: Statement) -> bool:
    """Whether a statement that was begun is done; if not, what it left behind is cleared away, and it can run again."""
    text = statement.text
    if found := _pattern(_CREATE_INDEX).match(text):
        return _index_made(connection, found["name"], found["table"])
    if found := _pattern(_DROP_INDEX).match(text):
        return not _one(connection, f"SELECT pg_catalog.to_regclass({literal(found['name'])})")
    if found := _pattern(_DETACH).match(text):
        return _detached(connection, found["table"], found["name"])
    if found := _pattern(_CLUSTER_WIDE).match(text):
        kind = found["kind"].upper()
        name = literal(_plain(found["name"]))
        there = _one(connection, f"SELECT 't' FROM pg_catalog.pg_{kind.lower()} WHERE {_COLUMNS[kind]} = {name}")
        return bool(there) == (found["verb"].upper() == "CREATE")
    _drop_rests_of_reindex(connection)
    return False


def _index_made(connection: Connection, name: str, table: str) -> bool:
    """Whether an index is there and valid; an invalid one is dropped."""
    [rows] = ask(
        connection,
        [
            Query(
                """SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), i.indisvalid AND i.indisready
                FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relname = $1 AND i.indrelid = pg_catalog.to_regclass($2)""",
                (_plain(name), table),
            )
        ],
    )
    if rows and rows[0][1] != "t":
        connection.execute(f"DROP INDEX CONCURRENTLY {rows[0][0]}".encode())
        return False
    return bool(rows)


def _detached(connection: Connection, table: str, partition: str) -> bool:
    """Whether a partition is detached; a detachment that is pending is ended."""
    pending = _one(
        connection,
        "SELECT inhdetachpending FROM pg_catalog.pg_inherits"
        f" WHERE inhparent = pg_catalog.to_regclass({literal(table)})"
        f" AND inhrelid = pg_catalog.to_regclass({literal(partition)})",
    )
    if pending == "t":
        connection.execute(f"ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE".encode())
        return True
    return pending is None


def _drop_rests_of_reindex(connection: Connection) -> None:
    """Drop the invalid indexes that an interrupted REINDEX CONCURRENTLY leaves, under the name that it gives them."""
    [rows] = ask(
        connection,
        [
            Query("""SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
                FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
                    AND pg_catalog.pg_has_role(c.relowner, 'USAGE')""")
        ],
    )
    for (name,) in rows:
        connection.execute(f"DROP INDEX CONCURRENTLY {name}".encode())


def _one(connection: Connection, sql: str) -> str | None:
    [rows] = ask(connection, [Query(sql)])
    return rows[0][0] if rows else None


def _plain(name: str) -> str:
    """The last part of a name, as the catalog has it."""
    last: str = re.findall(IDENTIFIER, name)[-1]
    return last[1:-1].replace('""', '"') if last.startswith('"') else last.lower()
