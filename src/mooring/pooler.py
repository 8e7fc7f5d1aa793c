"""Whether the connection pooler that stands in between gives every transaction another server connection.

A session's lock is lost behind such a pooler, or stays behind on a connection that somebody else gets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg.pq import TransactionStatus

from mooring.database import AS_CONNECTED
from mooring.errors import DatabaseUnreachable
from mooring.wire import Connection, Query, ask


_MOST = 30
"""Probes before giving up: a pooler has hardly more idle connections for one database and user."""
_PATIENCE = 3.0
"""Seconds that a probe may wait for a connection of its own."""
_WHO = Query("""SELECT pg_catalog.pg_backend_pid(), coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), 'its socket'),
    pg_catalog.inet_server_port()""")


def refuse_transaction_pooler(connection: Connection, connect: Callable[[], Connection]) -> None:
    """Raise DatabaseUnreachable where the pooler in between may give this server connection to others.

    A probe holds a transaction open and asks which server process it got. Ours: the pooler gives it away while we are
    connected. One that was started after the probe began: there was no idle one left, and ours was not among the idle. As
    long as neither is so, another probe is held beside the first.
    """
    [[(pid, host, port)]] = ask(connection, [_WHO])
    refusal = DatabaseUnreachable(
        "there is a connection pooler in between that gives every transaction another server connection, and a session's"
        " lock cannot live there",
        hint=f"Give MOORING_DATABASE_URL (or PGHOST and PGPORT) the server's own address, which the pooler reaches as"
        f" {host}:{port}, or a pool in session mode.",
    )
    probes: list[Connection] = []
    try:
        for _ in range(_MOST):
            seen = _probe(connect, probes, str(pid))
            if seen in {"ours", "statement", "failed"}:
                raise refusal
            if seen == "new" or (seen == "waits" and ask(connection, [_WHO])[0][0][0] == pid):
                return
    finally:
        for probe in probes:
            with suppress(psycopg.Error):
                probe.close()
    raise refusal


def give_back(connection: Connection) -> None:
    """Leave the server connection to the pooler as it was: not every one resets it, and the next client would have our lock."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        return
    with suppress(psycopg.Error):
        ask(connection, [*AS_CONNECTED, Query("SELECT pg_catalog.pg_advisory_unlock_all()")])


def _probe(connect: Callable[[], Connection], probes: list[Connection], pid: str) -> str:
    """Hold one more transaction, and say whose server process it has.

    `ours`, `new` or `other`; `waits` where none could be had, while ours was idle; `statement` where the pooler allows no
    transactions at all; or `failed`.
    """
    seen: list[str] = []
    late = threading.Event()

    def hold() -> None:
        try:
            probe = connect()
            probe.execute("BEGIN")
            row = probe.execute(_AGE, {"pid": pid}).fetchone()
        except psycopg.Error as error:
            seen.append("statement" if "statement pooling" in str(error) else "failed")
        else:
            if late.is_set():
                probe.close()
            probes.append(probe)
            seen.append(str(row[0]) if row else "other")

    # In a thread, because a probe that has to wait for a connection cannot be told to stop.
    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    late.set()
    return seen[0] if seen else "waits"


# Whether this server process is the one asked about; or was started only when that one had long been idle, so that it
# cannot have been among those that the pooler had to give.
_AGE = """
    SELECT CASE WHEN me.pid = theirs.pid THEN 'ours'
        WHEN theirs.state = 'idle' AND theirs.state_change < me.backend_start THEN 'new' ELSE 'other' END
    FROM pg_catalog.pg_stat_activity me, pg_catalog.pg_stat_activity theirs
    WHERE me.pid = pg_catalog.pg_backend_pid() AND theirs.pid::text = %(pid)s"""
