"""Many statements in one round trip, each answered as it is done: libpq's pipeline mode.

psycopg's own pipeline gives results only when all of them are there; a run of migrations wants to say what is done as it
is done. Everything up to the Sync at the end stops at the first failure, which is the server's own promise
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult


Connection = psycopg.Connection[Any]
Row = tuple[str | None, ...]


class Query(NamedTuple):
    """One statement to send."""

    sql: str
    values: Sequence[str | None] = ()
    """What stands for $1, $2, … in it."""
    flush: bool = False
    """Whether the server must not keep its answer back until its buffer is full."""
    sync: bool = False
    """Whether what follows is another transaction, which runs even if this one fails."""


class QueryFailed(Exception):
    """A query of an exchange failed; none after it ran."""

    def __init__(self, index: int, error: psycopg.Error) -> None:
        super().__init__(index, error)
        self.index = index
        """Which it was, from 0."""
        self.error = error


def exchange(connection: Connection, queries: Iterable[Query]) -> Iterator[list[Row]]:
    """Send all queries at once; yield each one's rows, as texts, when they arrive. To be read to its end.

    What is not inside a BEGIN and COMMIT of its own is one transaction. Raises QueryFailed, for the first that failed,
    after the last answer, and psycopg.OperationalError where the connection is lost.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    commands: deque[Callable[[], None]] = deque()
    for query in queries:
        values = [None if value is None else value.encode() for value in query.values]
        commands.append(partial(pgconn.send_query_params, query.sql.encode(), values))
        if query.flush:
            commands.append(pgconn.send_flush_request)
        if query.sync:
            commands.append(pgconn.pipeline_sync)
    commands.append(pgconn.pipeline_sync)
    syncs = commands.count(pgconn.pipeline_sync)
    arrived = connection.wait(generators.pipeline_communicate(pgconn, commands))
    index, failure = 0, None
    while syncs:
        for [result, *_] in arrived:
            if result.status == ExecStatus.PIPELINE_SYNC:
                syncs -= 1
                continue
            if result.status == ExecStatus.FATAL_ERROR:
                failure = failure or QueryFailed(index, error_from_result(result))
            elif result.status != ExecStatus.PIPELINE_ABORTED:
                yield _rows(result)
            index += 1
        arrived = [connection.wait(generators.fetch_many(pgconn))] if syncs else []
    pgconn.exit_pipeline_mode()
    if failure:
        raise failure


def ask(connection: Connection, queries: Iterable[Query]) -> list[list[Row]]:
    """Every answer of an exchange. Raises the error of the query that failed."""
    try:
        return list(exchange(connection, queries))
    except QueryFailed as failure:
        raise failure.error from None


def _rows(result: PGresult) -> list[Row]:
    columns = range(result.nfields)
    return [
        tuple(None if (value := result.get_value(row, column)) is None else value.decode() for column in columns)
        for row in range(result.ntuples)
    ]
