"""What the database says has run: the version table, the ledger, and the expected tables that are not there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from psycopg import errors

from mooring.errors import NotPermitted
from mooring.formats import Applied, Facts, Format
from mooring.ledger import CLAIM, LEDGER_COLUMNS, Entry, ledger_of
from mooring.migration import Migration
from mooring.names import TableName, literal, quote
from mooring.wire import Connection, Query, QueryFailed, Row, ask, exchange


class History(NamedTuple):
    """What has run, as far as the version table and the ledger know."""

    table: TableName
    """The version table with the schema that it is in, or would be made in."""
    exists: bool = False
    owner: str | None = None
    """The service that the ledger says it belongs to; None where there is no ledger."""
    alien: str = ""
    """Why what stands under its name is no version table of this format, or no ledger."""
    told: Applied = Applied()
    """What the version table says, as its tool reads it."""
    entries: Mapping[str, Entry] = MappingProxyType({})
    """The ledger's rows by version."""
    lost: Sequence[tuple[str, str]] = ()
    """The tables that the ledger knows and that are not there, each with a version that made or altered it."""
    unmet: tuple[str, ...] = ()
    """The tables of MOORING_EXPECTED_TABLES that are not there."""
    tables: frozenset[TableName] = frozenset()
    """Every table of the database, if there is a version that the ledger does not know."""
    facts: Facts | None = None
    schema_exists: bool = True
    server_pid: int = 0
    """The server's own process id, which behind a pooler is another than the client was told at the start."""

    @property
    def applied(self) -> frozenset[str]:
        """The versions that have run."""
        return self.told.versions


class Question(NamedTuple):
    """What to read, and what to hold against it."""

    table: TableName
    tool: Format
    migrations: Sequence[Migration]
    expected: Sequence[TableName]
    known: dict[str, Facts]
    """Where to leave what the database says of itself, before the tool is asked what the rows mean."""


def read(
    connection: Connection, question: Question, glance: Query, *before: Query, new: bool = False
) -> tuple[History, list[list[Row]]]:
    """The history, in one query where the version table and its ledger are there, and the answers to `before`.

    What is in `before` goes ahead in the same round trip, in transactions of its own; `glance` in the history's. `new` says
    that there was nothing to read the last time. Raises NotPermitted where a table may not be read.
    """
    try:
        if new:
            return _look_closer(connection, question, glance, *before)
        answers: list[list[Row]] = []
        try:
            answers.extend(exchange(connection, [*before, glance, Query(_query(question))]))
        except QueryFailed as failure:
            if failure.index <= len(before) or not isinstance(
                failure.error, errors.UndefinedTable | errors.UndefinedColumn
            ):
                raise failure.error from None
        else:
            if history := _history(question, answers[-1]):
                return history, answers[: len(before)]
        history, _ = _look_closer(connection, question, glance)
        return history, answers[: len(before)]
    except errors.InsufficientPrivilege as error:
        table = question.table
        raise NotPermitted(
            f"{connection.info.user} may not read {table}: {error.diag.message_primary}",
            hint=f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.sql}, {ledger_of(table).sql} TO {quote(connection.info.user)};",
        ) from error


def _look_closer(
    connection: Connection, question: Question, glance: Query, *before: Query
) -> tuple[History, list[list[Row]]]:
    """The history where a table is not there, or is not what its name says, and the answers to `before`."""
    tool, table = question.tool, question.table
    ledger = ledger_of(table)
    place = Query(_PLACE, (table.sql, table.schema, table.name, ledger.name))
    *answers, _, rows, all_tables = ask(connection, [*before, glance, place, Query(_TABLES)])
    columns: dict[str | None, list[str]] = {}
    for name, column in rows:
        columns.setdefault(name, []).append(str(column))
    schema, schema_exists, user, database, current_schema, pid = columns.pop(None)
    table = TableName(None if schema == "None" else schema, table.name)
    question = question._replace(table=table)
    facts = question.known["facts"] = Facts(user, database, current_schema, table)
    alien = [
        f"{name} has the columns {', '.join(columns[name.name])}: it is no {what}"
        for name, what, needed in (
            (table, f"{tool.NAME} version table", tool.COLUMNS),
            (ledger, "ledger", LEDGER_COLUMNS),
        )
        if name.name in columns and set(columns[name.name]) != set(needed)
    ]
    versions, entries = table.name in columns, ledger.name in columns
    if not alien and (versions or entries):
        _, rows = ask(connection, [glance, Query(_query(question, versions=versions, entries=entries))])
        history = _history(question, rows)
        assert history is not None  # noqa: S101 - both are looked up in one schema
        return history._replace(exists=versions), answers
    return History(
        table,
        exists=versions,
        alien="; ".join(alien),
        tables=frozenset(TableName(schema, str(name)) for _, schema, name, *_ in all_tables),
        facts=facts,
        schema_exists=schema_exists == "t",
        server_pid=int(pid),
    ), answers


# The columns of the version table and of the ledger, and, without a name, the schema that they are or would be in.
_PLACE = """
    WITH place AS (SELECT coalesce(
        (SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = pg_catalog.to_regclass($1)), $2, pg_catalog.current_schema()) AS schema)
    SELECT NULL, unnest(ARRAY[schema, CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = schema)
        THEN 't' END, current_user, current_database(), current_schema(), pg_catalog.pg_backend_pid()::text]) FROM place
    UNION ALL SELECT c.relname, a.attname FROM place
        JOIN pg_catalog.pg_namespace n ON n.nspname = schema
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname IN ($3, $4)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"""
_TABLES = """
    SELECT 'table', n.nspname::text, c.relname::text, NULL, NULL, NULL, NULL
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"""


_SCHEMA = """SELECT 'schema', n.nspname::text, NULL, NULL, NULL, NULL, NULL FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass({})"""


def _query(question: Question, *, versions: bool = True, entries: bool = True) -> str:
    """All of the history in one query, of rows whose first column says what they are.

    `versions` and `entries` say whether the version table and the ledger are there. Every table of the database is listed
    only where a version has no entry, because only then somebody will look for what it made.
    """
    table, tool = question.table, question.tool
    ledger = ledger_of(table).sql
    nothing = "SELECT NULL::text, NULL::text WHERE false"
    unknown = f"WHERE version NOT IN (SELECT version FROM {ledger})" if entries else ""
    parts = [
        "SELECT 'facts', current_user::text, current_database()::text, current_schema()::text,"
        " pg_catalog.pg_backend_pid()::text, NULL, NULL",
        "SELECT 'version', version, detail, NULL, NULL, NULL, NULL FROM versions",
        f"{_TABLES} AND EXISTS (SELECT FROM versions {unknown})",
    ]
    if versions:
        parts.append(_SCHEMA.format(literal(table.sql)))
    if entries:
        parts += [
            _SCHEMA.format(literal(ledger)),
            f"SELECT 'entry', version, service, name, sha256, done::text, doing::text FROM {ledger}",
            f"SELECT 'lost', t, version, NULL, NULL, NULL, NULL FROM {ledger}, unnest(tables) t"
            " WHERE pg_catalog.to_regclass(t) IS NULL",
        ]
    if question.expected:
        names = ", ".join(f"({literal(str(one))}, {literal(one.sql)})" for one in question.expected)
        parts.append(
            f"SELECT 'unmet', name, NULL, NULL, NULL, NULL, NULL FROM (VALUES {names}) AS expected (name, sql)"
            " WHERE pg_catalog.to_regclass(sql) IS NULL"
        )
    select = tool.select(table) if versions else nothing
    return f"WITH versions (version, detail) AS MATERIALIZED ({select})\n" + "\nUNION ALL ".join(parts)


def _history(question: Question, rows: Sequence[Row]) -> History | None:
    """The history that the query's rows tell; None if the version table and the ledger are in two schemas."""
    kinds: dict[str | None, list[Sequence[str]]] = defaultdict(list)
    for kind, *row in rows:
        kinds[kind].append([column or "" for column in row])
    schemas = {schema for schema, *_ in kinds["schema"]}
    if len(schemas) > 1:
        return None
    table = TableName(schemas.pop(), question.table.name)
    entries = {
        version: Entry(name, checksum, int(done) if done else None, doing == "true")
        for version, _, name, checksum, done, doing in kinds["entry"]
        if version != CLAIM
    }
    [(user, database, schema, pid, *_)] = kinds["facts"]
    complete = {version: entry.complete for version, entry in entries.items()}
    facts = question.known["facts"] = Facts(user, database, schema, table)
    told = question.tool.applied([(v, detail) for v, detail, *_ in kinds["version"]], complete, question.migrations)
    return History(
        table,
        exists=True,
        owner=next((service for version, service, *_ in kinds["entry"] if version == CLAIM), None),
        alien=f"{table} {told.alien}" if told.alien else "",
        told=told,
        entries=entries,
        facts=facts,
        server_pid=int(pid),
        lost=[(name, version) for name, version, *_ in kinds["lost"]],
        unmet=tuple(name for name, *_ in kinds["unmet"]),
        tables=frozenset(TableName(schema, name) for schema, name, *_ in kinds["table"]),
    )
