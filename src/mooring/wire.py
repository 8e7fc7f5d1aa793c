"""Many statements in one round trip, each answered as it is done: libpq's pipeline mode.

psycopg's own pipeline gives results only when all of them are there; a run of migrations wants to say what is done as it
is done. Everything up to the Sync at the end stops at the first failure, which is the server's own promise
(https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult


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


_number = count()
"""What the next prepared statement is called by: one that a failure left behind keeps its name."""


class QueryFailed(Exception):
    """A query of an exchange failed; none after it ran."""

    def __init__(self, index: int, error: psycopg.Error) -> None:
        super().__init__(index, error)
        self.index = index
        """Which it was, from 0."""
        self.error = error


def exchange(connection: Connection, queries: Sequence[Query]) -> Iterator[list[Row]]:
    """Send all queries at once; yield each one's rows, as texts, when they arrive. To be read to its end.

    What is not inside a BEGIN and COMMIT of its own is one transaction. Raises QueryFailed, for the first that failed,
    after the last answer, and psycopg.OperationalError where the connection is lost.
    """
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    commands, answers = _commands(pgconn, queries)
    syncs = 1 + sum(query.sync for query in queries)
    arrived = connection.wait(generators.pipeline_communicate(pgconn, commands))
    failure = None
    while syncs:
        for [result, *_] in arrived:
            if result.status == ExecStatus.PIPELINE_SYNC:
                syncs -= 1
                continue
            index, answer = answers.popleft()
            if result.status == ExecStatus.FATAL_ERROR:
                failure = failure or QueryFailed(index, error_from_result(result))
            elif answer and result.status != ExecStatus.PIPELINE_ABORTED:
                yield _rows(result)
        arrived = [connection.wait(generators.fetch_many(pgconn))] if syncs else []
    pgconn.exit_pipeline_mode()
    if failure:
        raise failure


def _commands(pgconn: PGconn, queries: Sequence[Query]) -> tuple[deque[Callable[[], None]], deque[tuple[int, bool]]]:
    """What to send, and for each result that is to come which query it is about, and whether it is its answer.

    A query that comes again with other values is parsed and planned once. Should a migration deallocate it, the next use
    fails, and nothing but that.
    """
    often = Counter(query.sql for query in queries if query.values)
    prepared: dict[str, bytes] = {}
    commands: deque[Callable[[], None]] = deque()
    together: list[Callable[[], None]] = []
    answers: deque[tuple[int, bool]] = deque()
    for index, query in enumerate(queries):
        sql, values = query.sql.encode(), [None if value is None else value.encode() for value in query.values]
        if often[query.sql] > 1:
            if query.sql not in prepared:
                prepared[query.sql] = name = b"mooring_%d" % next(_number)
                together.append(partial(pgconn.send_prepare, name, sql))
                answers.append((index, False))
            together.append(partial(pgconn.send_query_prepared, prepared[query.sql], values))
        else:
            together.append(partial(pgconn.send_query_params, sql, values))
        answers.append((index, True))
        if query.flush:
            together.append(pgconn.send_flush_request)
        if query.sync:
            together.append(pgconn.pipeline_sync)
        if query.flush or query.sync:
            commands.append(partial(_each, together))
            together = []
    for name in prepared.values():
        together.append(partial(pgconn.send_query_params, b"DEALLOCATE " + name, None))
        answers.append((len(queries) - 1, False))
    together.append(pgconn.pipeline_sync)
    commands.append(partial(_each, together))
    return commands, answers


def _each(sends: Iterable[Callable[[], None]]) -> None:
    for send in sends:
        send()


def ask(connection: Connection, queries: Sequence[Query]) -> list[list[Row]]:
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
