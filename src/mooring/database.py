"""Reaching the database: retries with jitter, a session that cannot hang, and who is to blame where it does not work."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import psycopg

from mooring.errors import DatabaseUnreachable, NotPermitted
from mooring.wire import Connection, Query


if TYPE_CHECKING:
    from mooring.settings import Settings

_ATTEMPT = 10
"""Seconds that one attempt may take, so that a server that hangs is tried again."""
_LONGEST_PAUSE = 5
_POSTGRESQL_14 = 140000
_POSTGRESQL_17 = 170000
AS_CONNECTED = (Query("SET SESSION AUTHORIZATION DEFAULT"), Query("RESET ALL"))
"""Makes a session's role and settings what they were at its start."""
# libpq gives no SQLSTATE for a connection that failed, only the server's text; these cannot get better by waiting.
_REFUSED = (
    r"authentication failed|no password supplied|role .* does not exist|no pg_hba\.conf entry|is not permitted to log in"
    r"|permission denied for database|certificate authentication failed|password file .* has group or world access"
)
_NO_DATABASE = r'database ".*" does not exist'
_HINT_NO_DATABASE = "CREATE DATABASE it first, or correct the database of MOORING_DATABASE_URL or PGDATABASE."
_HINT = (
    "Look at the host and the port of MOORING_DATABASE_URL or PGHOST and PGPORT, at network policies, and at the server's log."
    " MOORING_WAIT says how long to try."
)


class Begun(threading.Thread):
    """A first attempt that is under way."""

    def __init__(self, url: str, service: str) -> None:
        super().__init__(daemon=True)
        self.key = (url, service)
        self._connection: Connection | None = None
        self._error: psycopg.Error = psycopg.errors.ConnectionTimeout("connection timeout expired")

    def run(self) -> None:
        """Connect."""
        try:
            self._connection = _open(*self.key, _ATTEMPT)
        except psycopg.Error as error:
            self._error = error

    def result(self, timeout: int) -> Connection:
        """What came of it, after at most so many seconds. Raises psycopg.OperationalError."""
        self.join(timeout)
        if self._connection is None:
            raise self._error
        return self._connection


_begun: list[Begun] = []
"""The attempt that `begin` has begun and nobody has asked for."""


def begin(environment: Mapping[str, str]) -> None:
    """Begin to connect before the settings are read: most of it is waiting for the network, and the rest can load meanwhile.

    Whether it was right to do so, the settings decide: only an attempt with their URL and service is used.
    """
    if "MOORING_DATABASE_URL_FILE" not in environment:
        attempt = Begun(environment.get("MOORING_DATABASE_URL", ""), environment.get("MOORING_SERVICE", ""))
        attempt.start()
        _begun.append(attempt)


def connect(settings: Settings, waiting: Callable[[str], None]) -> Connection:
    """A connection to a primary, in autocommit mode, so that every transaction is written out.

    Tries until MOORING_WAIT is over; `waiting` is told of each reason for another attempt. Raises DatabaseUnreachable, or
    NotPermitted at once where the server knows the role and does not let it in.
    """
    deadline = time.monotonic() + settings.wait
    pause = 0.1
    while True:
        left = deadline - time.monotonic()
        try:
            connection = _next(settings, max(2, min(_ATTEMPT, round(left))))
        except psycopg.OperationalError as error:
            reason = _reason(error)
        else:
            return connection
        if re.search(_REFUSED, reason):
            raise NotPermitted(
                reason, hint="Look at the user, the password and the database of MOORING_DATABASE_URL or PG*."
            )
        left = deadline - time.monotonic()
        if left <= 0:
            raise DatabaseUnreachable(
                f"{reason} (tried for {settings.wait:g} s)",
                hint=_HINT_NO_DATABASE if re.search(_NO_DATABASE, reason) else _HINT,
            )
        waiting(reason)
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311 - jitter
        pause = min(_LONGEST_PAUSE, pause * 2)


def open_one(settings: Settings, timeout: int = _ATTEMPT) -> Connection:
    """A connection at the first attempt. Raises psycopg.OperationalError."""
    return _open(*_key(settings), timeout)


def _next(settings: Settings, timeout: int) -> Connection:
    """The attempt that was begun, or a new one."""
    begun = _begun.pop() if _begun else None
    return begun.result(timeout) if begun and begun.key == _key(settings) else open_one(settings, timeout)


def _key(settings: Settings) -> tuple[str, str]:
    """What decides about a connection."""
    return settings.database_url.get_secret_value() if settings.database_url else "", settings.service


def _open(url: str, service: str, timeout: int) -> Connection:
    return psycopg.connect(
        url,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=timeout,
        application_name=application(service),
        # Of several hosts, the one that can be written to; libpq asks a server, or a pooler, that does not say so itself.
        target_session_attrs="primary",
        client_encoding="UTF8",
        tcp_user_timeout=10_000,
        keepalives_idle=4,
        keepalives_interval=2,
        keepalives_count=3,
    )


def application(service: str) -> str:
    """The name under which the server shows a service's runners."""
    return f"mooring {service}"[:63]


def _reason(error: psycopg.OperationalError) -> str:
    """What went wrong, in a line: libpq says it once for TLS and once more for the attempt without."""
    lines = (
        re.sub(r"^(connection (failed|is bad): )+", "", " ".join(line.split())) for line in str(error).splitlines()
    )
    return " ".join(dict.fromkeys(line for line in lines if line))


def session(settings: Settings, server_version: int, *, waits_idle: bool) -> list[Query]:
    """What every transaction of Mooring's can rely on, whatever the role's defaults, or a migration, have set.

    Sent after connecting and not as startup options, because connection poolers refuse those. `waits_idle` says that a
    tool thinks between its statements, with a transaction open.
    """
    values = {
        "lock_timeout": _milliseconds(settings.lock_timeout),
        "statement_timeout": _milliseconds(settings.statement_timeout or 0),
        "default_transaction_read_only": "off",
        # What a client that is gone has left behind must not be in the next one's way for longer than 15 s.
        "idle_in_transaction_session_timeout": "0" if waits_idle else "10000",
        "tcp_keepalives_idle": "3",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "8000",
    }
    if server_version >= _POSTGRESQL_14:
        # A proxy in between may keep the connection of a client that is gone. Mooring itself is never idle for as long.
        values |= {"client_connection_check_interval": "1000", "idle_session_timeout": "0" if waits_idle else "10000"}
    if server_version >= _POSTGRESQL_17:
        values["transaction_timeout"] = "0"
    return [*AS_CONNECTED, _set(values, local=False)]


def glance(settings: Settings) -> Query:
    """What a look at the history needs, for its own transaction alone: a pooler may give the session to others after it."""
    # Over a long ledger the planner expects much work, and would compile for longer than the query takes.
    return _set(
        {"lock_timeout": _milliseconds(settings.lock_timeout), "statement_timeout": "60000", "jit": "off"}, local=True
    )


def _set(values: Mapping[str, str], *, local: bool) -> Query:
    calls = (f"pg_catalog.set_config('{name}', '{value}', {str(local).lower()})" for name, value in values.items())
    return Query(f"SELECT {', '.join(calls)}", sync=not local)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def runner() -> str:
    """Who runs migrations here: the host's name, which in a cluster is the pod's."""
    return socket.gethostname()
