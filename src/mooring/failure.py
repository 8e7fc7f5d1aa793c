"""What to say about SQL that failed: where it stands, what the server says, what is kept and what is not."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from mooring.errors import LockTimeout, MigrationFailed
from mooring.lexer import Statement
from mooring.migration import Migration
from mooring.ownership import listed


_WIDEST = 120
"""Characters of a line that an excerpt shows."""


def failed(  # noqa: PLR0913, PLR0917 - all that there is to say
    migration: Migration,
    statement: Statement | None,
    error: psycopg.Error,
    kept: Sequence[Migration],
    pending: Sequence[Migration],
    outside: str,
    blockers: Sequence[str] = (),
) -> MigrationFailed | LockTimeout:
    """The error for a migration that failed at a statement or, where that is None, when it was recorded or committed."""
    diagnosis = error.diag
    message = diagnosis.message_primary or str(error).strip()
    details: list[str] = []
    place: dict[str, object] = {"file": migration.name}
    if statement:
        place["file"] = statement.source.name
        position = int(diagnosis.statement_position or 1)
        line, column = statement.locate(position)
        place |= {"line": line, "column": column}
        details += excerpt(statement.source.text, line, column)
    else:
        message = f"while its transaction was recorded and committed: {message}"
    details += [f"SQLSTATE {diagnosis.sqlstate} ({type(error).__name__})"] * bool(diagnosis.sqlstate)
    if diagnosis.internal_query:
        details.append(f"QUERY: {diagnosis.internal_query.strip()}")
    for name, text in (
        ("DETAIL", diagnosis.message_detail),
        ("HINT", diagnosis.message_hint),
        ("CONTEXT", diagnosis.context),
    ):
        if text:
            details.append(f"{name}: {text.strip()}")
    transactional = migration.script.transactional
    left = len(pending) - len(kept) - 1
    became = (
        f"Rolled back: {migration.name}, all of it." if transactional else f"Begun: {migration.name}, see the ledger."
    )
    not_run = [f"Not run: {left} more."] * bool(left)
    details.append(
        " ".join([f"Kept: {listed([one.name for one in kept]) or 'nothing of this run'}.", became, *not_run])
    )
    kind = LockTimeout if isinstance(error, psycopg.errors.LockNotAvailable) else MigrationFailed
    details += [f"Held by {one}" for one in blockers] * (kind is LockTimeout)
    return kind(
        f"{':'.join(str(part) for part in place.values())}: {message}",
        details=details,
        hint=_hint(error, migration, outside),
        version=migration.version,
        **place,
        sqlstate=diagnosis.sqlstate,
        kept=[one.version for one in kept],
    )


def excerpt(text: str, line: int, column: int) -> list[str]:
    """A line of a file, cut to a window around the column if it is long, and a caret below the column."""
    source = text.split("\n")[line - 1].rstrip("\r")
    start = max(0, column - 1 - _WIDEST // 2) if len(source) > _WIDEST else 0
    number = f"{line:5} | "
    padding = "".join("\t" if letter == "\t" else " " for letter in source[start : column - 1])
    return [number + source[start : start + _WIDEST], " " * (len(number) - 2) + "| " + padding + "^"]


def _hint(error: psycopg.Error, migration: Migration, outside: str) -> str:
    """What to do now."""
    if isinstance(error, psycopg.errors.ActiveSqlTransaction | psycopg.errors.InvalidTransactionTermination):
        return outside.format(migration.name)
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return (
            "Let those who hold the table end their transactions, or set MOORING_LOCK_TIMEOUT higher for a quiet hour."
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "Grant the role of MOORING_DATABASE_URL what the statement needs, or run the migrations as the tables' owner."
    return f"Correct {migration.name}, build the image anew and deploy it: the next pod goes on from here."
