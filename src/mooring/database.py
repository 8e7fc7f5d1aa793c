"""Reaching the database: retries with jitter, a session that cannot hang, and who is to blame where it does not work."""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable, Mapping

import psycopg

from mooring.errors import DatabaseUnreachable, NotPermitted
from mooring.settings import Settings
from mooring.wire import Connection, Query


_ATTEMPT = 10
"""Seconds that one attempt may take, so that a server that hangs is tried again."""
_LONGEST_PAUSE = 5
_POSTGRESQL_14 = 140000
_POSTGRESQL_17 = 170000
# libpq gives no SQLSTATE for a connection that failed, only the server's text; these cannot get better by waiting.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|role .* does not exist|no pg_hba\.conf entry|is not permitted to log in"
    r"|permission denied for database|certificate authentication failed|password file .* has group or world access"
)
_NO_DATABASE = re.compile(r'database ".*" does not exist')
_HINT_NO_DATABASE = "CREATE DATABASE it first, or correct the database of MOORING_DATABASE_URL or PGDATABASE."
_HINT = (
    "Look at the host and the port of MOORING_DATABASE_URL or PGHOST and PGPORT, at network policies, and at the server's log."
    " MOORING_WAIT says how long to try."
)


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
            connection = open_one(settings, max(2, min(_ATTEMPT, round(left))))
        except psycopg.OperationalError as error:
            reason = _reason(error)
        else:
            return connection
        if _REFUSED.search(reason):
            raise NotPermitted(
                reason, hint="Look at the user, the password and the database of MOORING_DATABASE_URL or PG*."
            )
        left = deadline - time.monotonic()
        if left <= 0:
            raise DatabaseUnreachable(
                f"{reason} (tried for {settings.wait:g} s)",
                hint=_HINT_NO_DATABASE if _NO_DATABASE.search(reason) else _HINT,
            )
        waiting(reason)
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311 - jitter
        pause = min(_LONGEST_PAUSE, pause * 2)


def open_one(settings: Settings, timeout: int = _ATTEMPT) -> Connection:
    """A connection at the first attempt. Raises psycopg.OperationalError."""
    return psycopg.connect(
        settings.database_url.get_secret_value() if settings.database_url else "",
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=timeout,
        application_name=application(settings),
        # Of several hosts, the one that can be written to; libpq asks a server, or a pooler, that does not say so itself.
        target_session_attrs="primary",
        client_encoding="UTF8",
        tcp_user_timeout=10_000,
        keepalives_idle=4,
        keepalives_interval=2,
        keepalives_count=3,
    )


def application(settings: Settings) -> str:
    """The name under which the server shows a service's runners."""
    return f"mooring {settings.service}"[:63]


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
    return [Query("SET SESSION AUTHORIZATION DEFAULT"), Query("RESET ALL"), _set(values, local=False)]


def glance(settings: Settings) -> Query:
    """What a look at the history needs, for its own transaction alone: a pooler may give the session to others after it."""
    return _set({"lock_timeout": _milliseconds(settings.lock_timeout), "statement_timeout": "60000"}, local=True)


def _set(values: Mapping[str, str], *, local: bool) -> Query:
    calls = (f"pg_catalog.set_config('{name}', '{value}', {str(local).lower()})" for name, value in values.items())
    return Query(f"SELECT {', '.join(calls)}", sync=not local)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def runner() -> str:
    """Who runs migrations here: the host's name, which in a cluster is the pod's."""
    return socket.gethostname()
