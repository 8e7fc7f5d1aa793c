"""Applying: each migration in a transaction with its version row and its ledger row, many of them in a round trip."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from mooring import ledger
from mooring.errors import NotPermitted
from mooring.failure import failed
from mooring.formats import Format, Options
from mooring.history import History
from mooring.ledger import Author
from mooring.lexer import Statement
from mooring.migration import Folder, Migration
from mooring.names import TableName, quote
from mooring.plan import Plan
from mooring.resume import recoverable, settle
from mooring.watch import Watch
from mooring.wire import Connection, Query, QueryFailed, Row, ask, exchange


_BATCH_FILES = 100
_BATCH_CHARACTERS = 256 * 1024
BEGIN = Query("BEGIN READ WRITE")
_COMMIT = Query("COMMIT", flush=True)
# A migration that sets a role keeps it, for those after it too, as its tool would have it; but not for the records.
OWN_ROLE = (Query("SET LOCAL SESSION AUTHORIZATION DEFAULT"), Query("SET LOCAL role TO DEFAULT"))
# What PostgreSQL says of statements, or of a procedure's own COMMIT, that cannot run inside a transaction.
_KEEP_LOCK_TIMEOUT = Query(
    "SELECT pg_catalog.set_config('mooring.lock_timeout', pg_catalog.current_setting('lock_timeout'), false)"
)
_OLD_LOCK_TIMEOUT = Query(
    "SELECT pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('mooring.lock_timeout', true), false)"
    " WHERE pg_catalog.current_setting('mooring.lock_timeout', true) <> ''"
)
_RETRIES = 8
"""How many times a migration is tried again that could not get a lock."""
_LONGEST_PAUSE = 8
"""Seconds between two of them: shorter than the server lets the session be idle."""
_PASSING = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_NOT_IN_TRANSACTION = (errors.ActiveSqlTransaction, errors.InvalidTransactionTermination)


@dataclass(frozen=True)
class Target:
    """Where migrations go."""

    connection: Connection
    tool: Format
    options: Options
    author: Author
    history: History
    """As it was before the run."""
    watch: Watch
    lock_timeout: float
    """Seconds that a statement waits for a table."""
    restore: Callable[[], bool]
    """Brings back settings and lock after a statement that discards both; false where another runner has the lock."""
    done: dict[str, int] = field(default_factory=dict)
    """How many units of a non-transactional migration this run has done."""

    @property
    def table(self) -> TableName:
        """The version table."""
        return self.history.table

    def begun(self, migration: Migration) -> tuple[int, bool]:
        """How many units of a migration are done, and whether one more was begun in an earlier run."""
        entry = self.history.entries.get(migration.version)
        if migration.version in self.done:
            return self.done[migration.version], False
        return (entry.done or 0, entry.doing) if entry and not entry.complete else (0, False)


class Overtaken(Exception):
    """Another runner did what this one was about to do."""


class Failure(Exception):
    """A statement of a migration failed, or what records it did (`statement` is None); its transaction is rolled back."""

    def __init__(self, migration: Migration, statement: Statement | None, error: psycopg.Error) -> None:
        super().__init__(migration, statement, error)
        self.migration = migration
        self.statement = statement
        self.error = error


def prepare(target: Target, plan: Plan) -> None:
    """Make the version table and the ledger, and take over what another tool has run, in one transaction.

    Raises NotPermitted where the role cannot create tables.
    """
    table, author, history = target.table, target.author, target.history
    queries = [BEGIN]
    if plan.create:
        make_schema = target.tool.MAKES_SCHEMA and not history.schema_exists
        queries += [Query(sql) for sql in target.tool.create(table, schema_made=make_schema)] * (not history.exists)
        queries += ledger.create(table, author)
    queries += [ledger.forget(table, plan.forget)] if plan.forget else []
    queries += [ledger.adopt(table, author, migration, tables) for migration, tables in plan.adopt.items()]
    try:
        ask(target.connection, [*queries, _COMMIT])
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        role = quote(target.connection.info.user)
        may_not = isinstance(error, errors.InsufficientPrivilege) and history.schema_exists
        raise NotPermitted(
            f"{target.connection.info.user} cannot make {table}: {error.diag.message_primary}",
            hint=f"GRANT USAGE, CREATE ON SCHEMA {quote(str(table.schema))} TO {role};"
            if may_not
            else f"CREATE SCHEMA {quote(str(table.schema))} AUTHORIZATION {role};",
        ) from error


def apply(target: Target, folder: Folder, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations; yield each with its milliseconds when it is committed.

    Raises MigrationFailed: those before it are kept, it is rolled back, those after it did not run.
    """
    kept: list[Migration] = []
    try:
        for callback in folder.before if pending else ():
            _unrecorded(target, callback)
        for migration, milliseconds in _run(target, pending):
            kept.append(migration)
            yield migration, milliseconds
        for callback in folder.after if pending else ():
            _unrecorded(target, callback)
    except Failure as failure:
        raise failed(
            *(failure.migration, failure.statement, failure.error, kept, pending),
            outside=target.tool.OUTSIDE,
            blockers=target.watch.blockers,
        ) from None


def _run(target: Target, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations, and again what could not get a lock, or lost a deadlock: a bounded number of times each."""
    left, failures = list(pending), 0
    while left:
        try:
            for migration, milliseconds in _attempt(target, left):
                left, failures = left[1:], 0
                yield migration, milliseconds
        except Failure as failure:
            if _is_overtaken(target, failure.error):
                raise Overtaken(f"another runner applied {failure.migration.name}") from failure
            failures += 1
            if not isinstance(failure.error, _PASSING) or failures > _RETRIES:
                raise
            # A statement that waits holds up all who come after it: so it gives up soon, and lets them through meanwhile.
            target.watch.tried_again(
                failure.migration.name, str(failure.error.diag.message_primary), target.lock_timeout
            )
            pause = random.uniform(0.2, 1) * max(0.05, target.lock_timeout) * min(failures, 4)  # noqa: S311 - jitter
            time.sleep(min(_LONGEST_PAUSE, pause))


def _attempt(target: Target, pending: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run migrations as SQL, unless the tool has a way of its own; those that it had, `pending` then has no more."""
    if target.tool.run:
        yield from target.tool.run(target, list(pending), target.options)
        return
    for batch in _batches(list(pending)):
        yield from (_together if _fits_a_batch(batch[0]) else _step_by_step)(target, batch)


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
    """Run transactional migrations in one round trip, each in a transaction of its own."""
    queries: list[Query] = []
    sources: list[tuple[Migration, Statement | None]] = []
    for migration in batch:
        statements = migration.script.statements
        before, after = _setup(target), _recording(target, migration)
        queries += [BEGIN, *before, *(Query(one.text) for one in statements), *after, _COMMIT]
        around = [(migration, None)]
        sources += [*around * (len(before) + 1), *((migration, one) for one in statements), *around * (len(after) + 1)]
    rows: list[Row] = []
    try:
        for (migration, _), query, answer in zip(sources, queries, exchange(target.connection, queries), strict=True):
            if query is _COMMIT:
                yield migration, int(rows[0][0] or 0)
            rows = answer
    except QueryFailed as failure:
        _roll_back(target)
        raise Failure(*sources[failure.index], failure.error) from None


def _step_by_step(target: Target, batch: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
    """Run a migration that is not transactional, or has data: each unit in a transaction wherever PostgreSQL allows one.

    The ledger row knows how far a non-transactional one got, and a run that comes after an interrupted one goes on there.
    """
    [migration] = batch
    begun = time.monotonic()
    if migration.script.transactional:
        _unit(target, migration, migration.script.statements, _recording(target, migration))
        yield migration, round((time.monotonic() - begun) * 1000)
        return
    done, doing = target.begun(migration)
    ask(target.connection, [BEGIN, *_beginning(target, migration, fresh=not (done or doing)), _COMMIT])
    for number, unit in enumerate(migration.script.units[done:], done + 1):
        if doing and settle(target.connection, unit[0]):
            ask(target.connection, [BEGIN, ledger.end(target.table, migration, number, 0), _COMMIT])
        else:
            _one_unit(target, migration, unit, number)
        target.done[migration.version], doing = number, False
    ask(target.connection, [BEGIN, *_recording(target, migration), _COMMIT])
    yield migration, round((time.monotonic() - begun) * 1000)


def _beginning(target: Target, migration: Migration, *, fresh: bool) -> list[Query]:
    """What says that a non-transactional migration begins: in the ledger too, which otherwise would not know whose it is."""
    queries = [Query(sql) for sql in target.tool.begin(target.table, migration)]
    return queries + ledger.record(target.table, target.author, migration, lost(target), done=0) * fresh


def _one_unit(target: Target, migration: Migration, unit: Sequence[Statement], number: int) -> None:
    """Run one unit of a non-transactional migration, and record that it is done. Raises Failure."""
    try:
        _unit(target, migration, unit, ledger.record(target.table, target.author, migration, lost(target), done=number))
    except Failure as failure:
        if len(unit) > 1 or not isinstance(failure.error, _NOT_IN_TRANSACTION):
            raise
        _alone(target, migration, unit[0], number)


def _unit(target: Target, migration: Migration, unit: Sequence[Statement], recording: Sequence[Query]) -> None:
    """Run statements and what records them in a transaction. Raises Failure."""
    before = _setup(target)
    if any(statement.data is not None for statement in unit):
        _with_data(target, migration, unit, [*before], recording)
        return
    try:
        for _ in exchange(target.connection, [BEGIN, *before, *(Query(one.text) for one in unit), *recording, _COMMIT]):
            pass
    except QueryFailed as failure:
        _roll_back(target)
        index = failure.index - 1 - len(before)
        raise Failure(migration, unit[index] if 0 <= index < len(unit) else None, failure.error) from None


def _with_data(
    target: Target, migration: Migration, unit: Sequence[Statement], before: Sequence[Query], recording: Sequence[Query]
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
        ask(connection, [*recording, _COMMIT])
    except psycopg.Error as error:
        if connection.closed:
            raise
        _roll_back(target)
        raise Failure(migration, statement, error) from None


def _alone(target: Target, migration: Migration, statement: Statement, number: int) -> None:
    """Run a statement that PostgreSQL refuses to run in a transaction, with a ledger entry before and after it.

    It may wait for locks as long as it has to: it holds up nobody, and one that gave up would leave an invalid index.
    """
    connection = target.connection
    ask(connection, [BEGIN, ledger.begin(target.table, target.author, migration, done=number - 1), _COMMIT])
    ask(connection, [*_setup(target), _KEEP_LOCK_TIMEOUT, Query("SET lock_timeout = 0")])
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
    ask(connection, [BEGIN, ledger.end(target.table, migration, done, milliseconds), _COMMIT, _OLD_LOCK_TIMEOUT])
    if problem:
        raise Failure(migration, statement, problem)


def _unrecorded(target: Target, callback: Migration) -> None:
    """Run what is no migration: in a transaction, or statement by statement. Raises Failure."""
    for unit in callback.script.units:
        try:
            _unit(target, callback, unit, ())
        except Failure as failure:
            if len(unit) > 1 or not isinstance(failure.error, _NOT_IN_TRANSACTION):
                raise
            try:
                target.connection.execute(unit[0].text.encode())
            except psycopg.Error as error:
                raise Failure(callback, unit[0], error) from None


def _setup(target: Target) -> list[Query]:
    """What the tool does before each migration."""
    return [Query(sql) for sql in target.tool.setup(target.table)]


def _recording(target: Target, migration: Migration) -> list[Query]:
    """The version row and the ledger row of a migration that has run, as the role that Mooring came as."""
    version_rows = [Query(sql) for sql in target.tool.record(target.table, migration)]
    return [*OWN_ROLE, *version_rows, *ledger.record(target.table, target.author, migration, lost(target))]


def lost(target: Target) -> list[str]:
    """The tables that were missing before the run."""
    return [table for table, _ in target.history.lost]


def _roll_back(target: Target) -> None:
    """End what a failure has left open."""
    if not target.connection.closed:
        target.connection.execute("ROLLBACK")
