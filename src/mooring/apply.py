"""Applying: each migration in a transaction with its version row and its ledger row, many of them in a round trip."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence

import psycopg
from psycopg import errors

from mooring import ledger
from mooring.failure import failed
from mooring.lexer import Statement
from mooring.lock import Overtaken
from mooring.migration import Folder, Migration
from mooring.steps import step_by_step, unrecorded
from mooring.target import BEGIN, COMMIT, Failure, Target, as_ourselves, recording, roll_back, setup
from mooring.wire import Query, QueryFailed, Row, ask, exchange


_BATCH_FILES = 250
_BATCH_CHARACTERS = 256 * 1024
_RETRIES = 8
"""How many times a migration is tried again that could not get a lock."""
_LONGEST_PAUSE = 8
"""Seconds between two of them: shorter than the server lets the session be idle."""
_PASSING = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)


def apply(target: Target, folder: Folder, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations; yield each with its milliseconds when it is committed.

    Raises MigrationFailed: those before it are kept, it is rolled back, those after it did not run.
    """
    kept: list[Migration] = []
    try:
        for callback in folder.before if pending else ():
            unrecorded(target, callback)
        for migration, milliseconds in _run(target, pending):
            kept.append(migration)
            yield migration, milliseconds
        for callback in folder.after if pending else ():
            unrecorded(target, callback)
    except Failure as failure:
        raise failed(
            *(failure.migration, failure.statement, failure.error, kept, pending),
            outside=target.tool.OUTSIDE,
            blockers=target.watch.blockers,
        ) from None


def _run(target: Target, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations, and again what could not get a lock, or lost a deadlock: a bounded number of times each."""
    done = failures = 0
    while done < len(pending):
        try:
            # What failed is tried again alone.
            for migration, milliseconds in _attempt(target, pending[done : done + 1] if failures else pending[done:]):
                done, failures = done + 1, 0
                yield migration, milliseconds
        except Failure as failure:
            if _is_overtaken(target, failure.error):
                raise Overtaken(f"another runner applied {failure.migration.name}") from failure
            failures += 1
            deallocated = failure.statement is None and isinstance(failure.error, errors.InvalidSqlStatementName)
            if deallocated and failures == 1:
                continue  # what is prepared for a batch, and not for one alone
            if not isinstance(failure.error, _PASSING) or failures > _RETRIES:
                raise
            # A statement that waits holds up all who come after it: so it gives up soon, and lets them through meanwhile.
            target.watch.tried_again(
                failure.migration.name, str(failure.error.diag.message_primary), target.lock_timeout
            )
            pause = random.uniform(0.2, 1) * max(0.05, target.lock_timeout) * min(failures, 4)  # noqa: S311 - jitter
            time.sleep(min(_LONGEST_PAUSE, pause))


def _attempt(target: Target, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations as SQL, unless the tool has a way of its own."""
    if target.tool.run:
        yield from target.tool.run(target, pending, target.options)
        return
    for batch in _batches(pending):
        if _fits_a_batch(batch[0]):
            yield from _together(target, batch)
        else:
            yield batch[0], step_by_step(target, batch[0])


def _is_overtaken(target: Target, error: psycopg.Error) -> bool:
    """Whether the ledger already has the row: without the lock, that is what keeps a migration from running twice."""
    ledger_name = ledger.ledger_of(target.table).name
    return isinstance(error, errors.UniqueViolation) and error.diag.table_name == ledger_name


def _fits_a_batch(migration: Migration) -> bool:
    """Whether a migration can go out with others: it is transactional, and has no data that only a client can send."""
    return migration.script.transactional and all(one.data is None for one in migration.script.statements)


def _batches(pending: Iterable[Migration]) -> Iterator[list[Migration]]:
    """What goes out in one round trip: migrations up to a limit, or one that has to be alone."""
    batch: list[Migration] = []
    characters = 0
    for migration in pending:
        alone = not _fits_a_batch(migration)
        size = len(migration.source.text)
        if batch and (alone or len(batch) == _BATCH_FILES or characters + size > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(migration)
        characters += size
        if alone:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _together(target: Target, batch: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run transactional migrations in one round trip, each in a transaction of its own.

    None but the last waits for the disk, and with it all are on it, as a server writes its log in order. A server that
    crashes before may lose the newest of them, each with its rows, and the run loses its connection: the next one finds them
    pending.
    """
    queries: list[Query] = []
    sources: list[tuple[Migration, Statement | None]] = []
    for migration in batch:
        statements = migration.script.statements
        before, after = setup(target), recording(target, migration, durable=migration is batch[-1])
        queries += [BEGIN, *before, *(Query(one.text) for one in statements), *after, COMMIT]
        around = [(migration, None)]
        sources += [*around * (len(before) + 1), *((migration, one) for one in statements), *around * (len(after) + 1)]
    rows: list[Row] = []
    try:
        for (migration, _), query, answer in zip(sources, queries, exchange(target.connection, queries), strict=True):
            if query is COMMIT:
                yield migration, int(rows[0][0] or 0)
            rows = answer
    except QueryFailed as failure:
        roll_back(target)
        _flush(target)
        raise Failure(*sources[failure.index], failure.error) from None


def _flush(target: Target) -> None:
    """Wait until what was kept is on the disk, unless nothing more can be written: what failed says so."""
    if target.connection.closed:
        return
    try:
        ask(target.connection, [BEGIN, as_ourselves(), ledger.flush(target.table), COMMIT])
    except psycopg.Error:
        roll_back(target)
