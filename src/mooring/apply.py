"""Applying: each migration in a transaction with its version row and its ledger row, many of them in a round trip."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors

from mooring import ledger
from mooring.errors import NotPermitted
from mooring.failure import failed
from mooring.formats import Format
from mooring.history import History
from mooring.ledger import Author
from mooring.lexer import Statement
from mooring.migration import Migration
from mooring.names import TableName, quote
from mooring.plan import Plan
from mooring.wire import Connection, Query, QueryFailed, ask, exchange


_BATCH_FILES = 100
_BATCH_CHARACTERS = 256 * 1024
_BEGIN = Query("BEGIN READ WRITE")
_COMMIT = Query("COMMIT", flush=True)
# What PostgreSQL says of statements, or of a procedure's own COMMIT, that cannot run inside a transaction.
_NOT_IN_TRANSACTION = (errors.ActiveSqlTransaction, errors.InvalidTransactionTermination)


@dataclass(frozen=True)
class Target:
    """Where migrations go."""

    connection: Connection
    tool: Format
    author: Author
    history: History
    """As it was before the run."""

    @property
    def table(self) -> TableName:
        """The version table."""
        return self.history.table


@dataclass(frozen=True)
class _Failure(Exception):
    """A statement of a migration failed, or what records it did (`statement` is None); its transaction is rolled back."""

    migration: Migration
    statement: Statement | None
    error: psycopg.Error


def prepare(target: Target, plan: Plan) -> None:
    """Make the version table and the ledger, and take over what another tool has run, in one transaction.

    Raises NotPermitted where the role cannot create tables.
    """
    table, author = target.table, target.author
    queries = [_BEGIN]
    if plan.create:
        queries += [Query(sql) for sql in target.tool.create(table)] * (not target.history.exists)
        queries += ledger.create(table, author)
    queries += [ledger.forget(table, plan.forget)] if plan.forget else []
    queries += [ledger.adopt(table, author, migration, tables) for migration, tables in plan.adopt.items()]
    try:
        ask(target.connection, [*queries, _COMMIT])
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        role = target.connection.info.user
        is_there = isinstance(error, errors.InsufficientPrivilege)
        raise NotPermitted(
            f"{role} cannot make {table}: {error.diag.message_primary}",
            hint=f"GRANT USAGE, CREATE ON SCHEMA {quote(str(table.schema))} TO {quote(role)};"
            if is_there
            else f"CREATE SCHEMA {quote(str(table.schema))} AUTHORIZATION {quote(role)};",
        ) from error


def apply(target: Target, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations; yield each with its milliseconds when it is committed.

    Raises MigrationFailed: those before it are kept, it is rolled back, those after it did not run.
    """
    kept: list[Migration] = []
    try:
        for batch in _batches(pending):
            run = _together(target, batch) if batch[0].script.transactional else _step_by_step(target, *batch)
            for migration, milliseconds in run:
                kept.append(migration)
                yield migration, milliseconds
    except _Failure as failure:
        raise failed(failure.migration, failure.statement, failure.error, kept, pending) from failure.error


def _batches(pending: Iterable[Migration]) -> Iterator[list[Migration]]:
    """What goes out in one round trip: transactional migrations up to a limit, a non-transactional one alone."""
    batch: list[Migration] = []
    characters = 0
    for migration in pending:
        alone = not migration.script.transactional
        if batch and (alone or len(batch) == _BATCH_FILES or characters + len(migration.text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(migration)
        characters += len(migration.text)
        if alone:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _together(target: Target, batch: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run transactional migrations in one round trip, each in a transaction of its own."""
    queries: list[Query] = []
    sources: list[tuple[Migration, Statement | None]] = []
    recorded: dict[Migration, Query] = {}
    for migration in batch:
        statements = [statement for unit in migration.script.units for statement in unit]
        recording = _recording(target, migration)
        recorded[migration] = recording[-1]
        queries += [_BEGIN, *(Query(statement.text) for statement in statements), *recording, _COMMIT]
        sources += [
            (migration, None),
            *((migration, one) for one in statements),
            *((migration, None),) * (len(recording) + 1),
        ]
    milliseconds = 0
    try:
        for (migration, _), query, rows in zip(sources, queries, exchange(target.connection, queries), strict=True):
            if query is _COMMIT:
                yield migration, milliseconds
            elif query is recorded[migration]:
                milliseconds = int(rows[0][0] or 0)
    except QueryFailed as failure:
        _roll_back(target)
        raise _Failure(*sources[failure.index], failure.error) from None


def _step_by_step(target: Target, migration: Migration) -> Iterator[tuple[Migration, int]]:
    """Run a non-transactional migration, each unit in a transaction of its own wherever PostgreSQL allows one.

    So its ledger row knows how far it got, and a run that comes after an interrupted one goes on from there.
    """
    begun = time.monotonic()
    entry = target.history.entries.get(migration.version)
    done = entry.done or 0 if entry else 0
    for number, unit in enumerate(migration.script.units[done:], done + 1):
        recording = ledger.record(target.table, target.author, migration, _lost(target), done=number)
        queries = [_BEGIN, *(Query(statement.text) for statement in unit), *recording, _COMMIT]
        try:
            for _ in exchange(target.connection, queries):
                pass
        except QueryFailed as failure:
            _roll_back(target)
            if len(unit) > 1 or not isinstance(failure.error, _NOT_IN_TRANSACTION):
                statement = unit[failure.index - 1] if 0 < failure.index <= len(unit) else None
                raise _Failure(migration, statement, failure.error) from None
            _alone(target, migration, unit[0], number)
    ask(target.connection, [_BEGIN, *_recording(target, migration), _COMMIT])
    yield migration, round((time.monotonic() - begun) * 1000)


def _alone(target: Target, migration: Migration, statement: Statement, number: int) -> None:
    """Run a statement that PostgreSQL refuses to run in a transaction, with a ledger entry before and after it."""
    ask(target.connection, [ledger.begin(target.table, target.author, migration, done=number - 1)])
    begun = time.monotonic()
    done, problem = number, None
    try:
        target.connection.execute(statement.text.encode())
    except psycopg.Error as error:
        if target.connection.closed:
            raise
        done, problem = number - 1, error
    milliseconds = round((time.monotonic() - begun) * 1000)
    ask(target.connection, [ledger.end(target.table, migration, done, milliseconds)])
    if problem:
        raise _Failure(migration, statement, problem)


def _recording(target: Target, migration: Migration) -> list[Query]:
    """The version row and the ledger row of a migration that has run."""
    version_row = Query(target.tool.record(target.table, migration))
    return [version_row, *ledger.record(target.table, target.author, migration, _lost(target))]


def _lost(target: Target) -> list[str]:
    return [table for table, _ in target.history.lost]


def _roll_back(target: Target) -> None:
    """End what a failure has left open."""
    if not target.connection.closed:
        target.connection.execute("ROLLBACK")
