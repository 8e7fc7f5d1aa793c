"""Running one migration unit by unit: what is not transactional, or has data that only a client can send."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg import errors

from mooring import ledger
from mooring.lexer import Statement
from mooring.lock import Overtaken
from mooring.migration import Migration
from mooring.resume import recoverable, settle
from mooring.target import BEGIN, COMMIT, Failure, Target, ledger_row, recording, roll_back, setup
from mooring.wire import Query, QueryFailed, ask, exchange


# What PostgreSQL says of statements, or of a procedure's own COMMIT, that cannot run inside a transaction.
_NOT_IN_TRANSACTION = (errors.ActiveSqlTransaction, errors.InvalidTransactionTermination)
# A migration may have set a lock_timeout of its own, which those after it are to find.
_KEEP_LOCK_TIMEOUT = Query(
    "SELECT pg_catalog.set_config('mooring.lock_timeout', pg_catalog.current_setting('lock_timeout'), false)"
)
_OLD_LOCK_TIMEOUT = Query(
    "SELECT pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('mooring.lock_timeout', true), false)"
    " WHERE pg_catalog.current_setting('mooring.lock_timeout', true) <> ''"
)


def step_by_step(target: Target, migration: Migration) -> int:
    """Run a migration that is not transactional, or has data, and say how many milliseconds that took.

    Each unit goes into a transaction wherever PostgreSQL allows one. The ledger row knows how far a non-transactional one
    got, and a run that comes after an interrupted one goes on there.
    """
    begun = time.monotonic()
    if migration.script.transactional:
        _unit(target, migration, migration.script.statements, recording(target, migration))
        return round((time.monotonic() - begun) * 1000)
    done, doing = target.begun(migration)
    ask(target.connection, [BEGIN, *_beginning(target, migration, fresh=not (done or doing)), COMMIT])
    for number, unit in enumerate(migration.script.units[done:], done + 1):
        if doing and settle(target.connection, unit[0]):
            ask(target.connection, [BEGIN, ledger.end(target.table, migration, number, 0), COMMIT])
        else:
            _one_unit(target, migration, unit, number)
        target.done[migration.version], doing = number, False
    ask(target.connection, [BEGIN, *recording(target, migration), COMMIT])
    return round((time.monotonic() - begun) * 1000)


def _beginning(target: Target, migration: Migration, *, fresh: bool) -> list[Query]:
    """What says that a non-transactional migration begins: in the ledger too, which otherwise would not know whose it is."""
    queries = [Query(sql) for sql in target.tool.begin(target.table, migration)]
    return queries + ledger_row(target, migration, done=0) * fresh


def _one_unit(target: Target, migration: Migration, unit: Sequence[Statement], number: int) -> None:
    """Run one unit of a non-transactional migration, and record that it is done. Raises Failure."""
    try:
        _unit(target, migration, unit, ledger_row(target, migration, done=number))
    except Failure as failure:
        if not _wants_no_transaction(unit, failure):
            raise
        _alone(target, migration, unit[0], number)


def _wants_no_transaction(unit: Sequence[Statement], failure: Failure) -> bool:
    """Whether a unit failed because it is one statement that PostgreSQL runs outside a transaction alone."""
    return len(unit) == 1 and isinstance(failure.error, _NOT_IN_TRANSACTION)


def _unit(target: Target, migration: Migration, unit: Sequence[Statement], records: Sequence[Query]) -> None:
    """Run statements and what records them in a transaction. Raises Failure."""
    before = setup(target)
    if any(statement.data is not None for statement in unit):
        _with_data(target, migration, unit, before, records)
        return
    try:
        for _ in exchange(target.connection, [BEGIN, *before, *(Query(one.text) for one in unit), *records, COMMIT]):
            pass
    except QueryFailed as failure:
        roll_back(target)
        index = failure.index - 1 - len(before)
        raise Failure(migration, unit[index] if 0 <= index < len(unit) else None, failure.error) from None


def _with_data(
    target: Target, migration: Migration, unit: Sequence[Statement], before: Sequence[Query], records: Sequence[Query]
) -> None:
    """Run statements among which a COPY FROM STDIN has its data with it: not in a pipeline, which cannot carry data."""
    connection = target.connection
    ask(connection, [BEGIN, *before])
    statement: Statement | None = None
    try:
        for statement in unit:
            if statement.data is None:
                connection.execute(statement.text.encode())
            else:
                with connection.cursor() as cursor, cursor.copy(statement.text.encode()) as copy:
                    copy.write(statement.data)
        statement = None
        ask(connection, [*records, COMMIT])
    except psycopg.Error as error:
        if connection.closed:
            raise
        roll_back(target)
        raise Failure(migration, statement, error) from None


def _alone(target: Target, migration: Migration, statement: Statement, number: int) -> None:
    """Run a statement that PostgreSQL refuses to run in a transaction, with a ledger entry before and after it.

    It may wait for locks as long as it has to: it holds up nobody, and one that gave up would leave an invalid index.
    """
    connection = target.connection
    ask(connection, [BEGIN, ledger.begin(target.table, target.author, migration, done=number - 1), COMMIT])
    ask(connection, [*setup(target), _KEEP_LOCK_TIMEOUT, Query("SET lock_timeout = 0")])
    begun = time.monotonic()
    problem: psycopg.Error | None = None
    try:
        connection.execute(statement.text.encode())
    except psycopg.Error as error:
        if connection.broken:
            raise
        problem = error
        if recoverable(statement):
            settle(connection, statement)
    if statement.verb == "DISCARD" and not target.restore():
        raise Overtaken("another runner took the lock, which the migration gave away")
    milliseconds = round((time.monotonic() - begun) * 1000)
    done = number - 1 if problem else number
    ask(connection, [BEGIN, ledger.end(target.table, migration, done, milliseconds), COMMIT, _OLD_LOCK_TIMEOUT])
    if problem:
        raise Failure(migration, statement, problem)


def unrecorded(target: Target, callback: Migration) -> None:
    """Run what is no migration: in a transaction, or statement by statement. Raises Failure."""
    for unit in callback.script.units:
        try:
            _unit(target, callback, unit, ())
        except Failure as failure:
            if not _wants_no_transaction(unit, failure):
                raise
            try:
                target.connection.execute(unit[0].text.encode())
            except psycopg.Error as error:
                raise Failure(callback, unit[0], error) from None
