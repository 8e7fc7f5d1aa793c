"""Breaks Mooring on purpose, to see that the harness notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mooring import apply, lock
from mooring import target as to
from mooring.lexer import Statement
from mooring.migration import Migration
from mooring.wire import Query, ask


def without_lock() -> None:
    """Every runner believes that it has the lock; and the ledger takes a row a second time."""

    def attempt(keys: Sequence[int]) -> list[Query]:  # noqa: ARG001 - it has no use for them
        return [Query("SELECT 't'"), Query("SELECT NULL WHERE false", sync=True)]

    lock.attempt = attempt


def with_rows_outside() -> None:
    """The version row and the ledger row are written in a transaction of their own, after that of the migration."""

    def together(target: to.Target, batch: Sequence[Migration]) -> Iterator[tuple[Migration, int]]:
        for migration in batch:
            statements: list[Statement] = migration.script.statements
            begin, commit = to.BEGIN, Query("COMMIT")
            setup = [Query(sql) for sql in target.tool.setup(target.table)]
            ask(target.connection, [begin, *setup, *(Query(one.text) for one in statements), commit])
            rows = [Query(sql) for sql in target.tool.record(target.table, migration)]
            records = to.ledger_row(target, migration)
            ask(target.connection, [begin, *rows, *records, commit])
            yield migration, 0

    apply._together = together  # noqa: SLF001 - it is what is to be broken


SABOTAGE: Mapping[str, Callable[[], None]] = {"without lock": without_lock, "with rows outside": with_rows_outside}
