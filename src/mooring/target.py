"""Where migrations go, and what goes with each of them: the transaction around it, and the rows that record it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from mooring import ledger
from mooring.formats import Format, Options
from mooring.history import History
from mooring.ledger import Author
from mooring.lexer import Statement
from mooring.migration import Migration
from mooring.names import TableName
from mooring.watch import Watch
from mooring.wire import Connection, Query


BEGIN = Query("BEGIN READ WRITE")
COMMIT = Query("COMMIT", flush=True)


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


class Failure(Exception):
    """A statement of a migration failed, or what records it did (`statement` is None); its transaction is rolled back."""

    def __init__(self, migration: Migration, statement: Statement | None, error: psycopg.Error) -> None:
        super().__init__(migration, statement, error)
        self.migration = migration
        self.statement = statement
        self.error = error


def setup(target: Target) -> list[Query]:
    """What the tool does before each migration."""
    return [Query(sql) for sql in target.tool.setup(target.table)]


def as_ourselves(*, durable: bool = True) -> Query:
    """Make the rest of a transaction Mooring's own, whatever a migration has set.

    A migration that sets a role keeps it, for those after it too, as its tool would have it; but not for the records. One
    that is not `durable` is there when it is committed, and after a crash of the server once the next one that is has been.
    """
    # NULL stands for what the session began with. Over a long ledger the planner expects work that is hardly ever done, and
    # would compile it for 20 ms, or plan it again, each time.
    return Query(
        "SELECT pg_catalog.set_config('session_authorization', NULL, true), pg_catalog.set_config('role', NULL, true),"
        " pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),"
        " pg_catalog.set_config('synchronous_commit', $1, true)",
        (None if durable else "off",),
    )


def recording(target: Target, migration: Migration, *, durable: bool = True) -> list[Query]:
    """The version row and the ledger row of a migration that has run, as the role that Mooring came as."""
    version_rows = [Query(sql) for sql in target.tool.record(target.table, migration)]
    return [as_ourselves(durable=durable), *version_rows, *ledger_row(target, migration)]


def ledger_row(target: Target, migration: Migration, done: int | None = None) -> list[Query]:
    """The ledger row alone; of that many of its statements, if `done` is given."""
    lost = [table for table, _ in target.history.lost]
    return ledger.record(target.table, target.author, migration, lost, done)


def roll_back(target: Target) -> None:
    """End what a failure has left open."""
    if not target.connection.closed:
        target.connection.execute("ROLLBACK")
