"""While a statement runs: every so often, how it is getting on and whom it waits for.

Asked over a connection of its own, which is opened only when a statement has run for a while.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from mooring.report import Report
from mooring.wire import Connection, Query, ask


_EVERY = 15.0
"""Seconds between two words about the same statement."""


@dataclass
class Watch:
    """What the watcher saw."""

    report: Report
    blockers: list[str] = field(default_factory=list)
    """Who was last seen to hold what the statement waits for."""
    every: float = field(default_factory=lambda: _EVERY)
    """Seconds between two looks: shorter after a lock could not be had, to see who has it."""
    awake: threading.Event = field(default_factory=threading.Event)
    ended: bool = False

    def tried_again(self, file: str, reason: str, seconds: float) -> None:
        """Say that a migration could not get a lock within some seconds, and look more often from now on who has it."""
        known = {"blocked_by": self.blockers} if self.blockers else {}
        self.report.waiting("table", file=file, reason=reason, **known)
        self.every = min(1.0, max(0.05, seconds / 3))
        self.awake.set()


@contextmanager
def watching(connection: Connection, pid: int, connect: Callable[[], Connection], report: Report) -> Iterator[Watch]:
    """Watch what the server process of a connection does until the end of the block."""
    watch = Watch(report)
    thread = threading.Thread(target=_watch, args=(watch, connection, pid, connect), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.ended = True
        watch.awake.set()
        thread.join(1)


def _watch(watch: Watch, connection: Connection, pid: int, connect: Callable[[], Connection]) -> None:
    observer: Connection | None = None
    while True:
        watch.awake.wait(watch.every)
        watch.awake.clear()
        if watch.ended:
            break
        try:
            observer = observer or connect()
            [rows] = ask(observer, [Query(_LOOK, (str(pid),))])
        except psycopg.Error:
            observer = None
            continue
        if not rows:
            _cut(connection)
        for seconds, waits_for, progress, blockers, state in rows:
            watch.blockers = [one for one in (blockers or "").split("\n") if one] or watch.blockers
            if state == "active":
                watch.report.still_running(float(seconds or 0), waits_for or "", progress or "", blockers or "")
    if observer:
        observer.close()


def _cut(connection: Connection) -> None:
    """Let a connection fail whose server process is gone: something in between keeps it, and it would wait for ever."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


_LOOK = """
    SELECT round(extract(epoch FROM pg_catalog.clock_timestamp() - a.query_start)), a.wait_event,
        (SELECT pg_catalog.format('%s: %s of %s blocks, %s of %s tuples', p.phase, p.blocks_done, p.blocks_total,
            p.tuples_done, p.tuples_total) FROM pg_catalog.pg_stat_progress_create_index p WHERE p.pid = a.pid),
        (SELECT pg_catalog.string_agg(pg_catalog.format('pid %s, user %s, application %s, %s since %s: %s', b.pid, b.usename,
            b.application_name, b.state,
            pg_catalog.to_char(b.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            pg_catalog.left(pg_catalog.regexp_replace(b.query, '\\s+', ' ', 'g'), 200)), E'\\n')
            FROM pg_catalog.pg_stat_activity b WHERE b.pid = ANY (pg_catalog.pg_blocking_pids(a.pid))), a.state
    FROM pg_catalog.pg_stat_activity a WHERE a.pid = $1::integer"""
