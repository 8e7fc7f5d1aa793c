"""Everything that Mooring refuses or fails with.

An exception's docstring is the first line of its message. Each carries the exit code that `docs` and charts rely on, the
problems (all of them, one line each) and a hint: what to do now, as something one can paste.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar


_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")
_KEYWORD_PASSWORD = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


def redact(text: str) -> str:
    """A text without the password of any connection string in it."""
    return _KEYWORD_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))


class MooringError(Exception):
    """Mooring has a bug.

    An exception that nobody expected; its traceback is in the log.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: str, details: Sequence[str] = (), hint: str = "", **fields: object) -> None:
        self.problems = tuple(map(redact, problems))
        self.details = details
        """More lines for who reads the log."""
        self.hint = hint
        self.fields = fields
        """What a log event of this error carries beside the text: stable keys, plain values."""
        super().__init__(*problems)

    @classmethod
    def describe(cls) -> tuple[str, str]:
        """What the log says of such errors, and when they are raised: the two parts of the docstring."""
        summary, _, meaning = (cls.__doc__ or "").partition("\n\n")
        return summary.rstrip("."), " ".join(meaning.split())

    @property
    def summary(self) -> str:
        """The first line of the message."""
        return self.describe()[0]

    @property
    def line(self) -> str:
        """All that fits on one line, what to do now included: what the termination log shows."""
        text = f"exit {self.exit_code}: {'; '.join(self.problems) or self.summary}"
        return f"{text.removesuffix('.')}. {self.hint}" if self.hint else text

    def __str__(self) -> str:
        text = self.summary
        if self.problems:
            text += ":" + "".join(f"\n  {line}" for line in (*self.problems, *self.details))
        if self.hint:
            text += f"\n{self.hint}"
        return text


class SettingsInvalid(MooringError):
    """The settings are not valid.

    A setting is missing or wrong: every one is listed, and none of the secrets shown.
    """

    exit_code = 2


class DatabaseUnreachable(MooringError):
    """The database cannot be reached.

    After `MOORING_WAIT` of retries with jitter: refused, no such host, no such database, starting up, too many
    connections, a standby.
    """

    exit_code = 10


class NotPermitted(MooringError):
    """The database does not permit this.

    A wrong password, a role that may not log in, or a missing privilege: the hint says what to grant.
    """

    exit_code = 11


class MigrationsInvalid(MooringError):
    """The folder of migrations is not valid.

    No such folder, no files, a name that the format does not know, a duplicate, a file that cannot be read or run as it
    is: all of them at once, before anything runs.
    """

    exit_code = 20


class HistoryDiffers(MooringError):
    """The database's history differs from the folder.

    A recorded file was changed, is missing below the newest, or a new one is numbered below the newest.
    """

    exit_code = 21


class ForeignVersionTable(MooringError):
    """The version table is not this service's.

    It is claimed by another service, explained only by another, no version table at all, or it carries the name that
    every service would share.
    """

    exit_code = 22


class MigrationFailed(MooringError):
    """A migration failed.

    An SQL error: file, line and column, the line itself, SQLSTATE, detail and hint; what was kept, what was rolled back.
    """

    exit_code = 30


class HalfDone(MooringError):
    """A non-transactional migration stopped midway.

    It cannot be resumed safely: which statement it was, and what to do.
    """

    exit_code = 31


class LockBusy(MooringError):
    """Another runner holds this service's lock.

    It did so past `MOORING_LOCK_WAIT`: its pid, user, application, host and since when.
    """

    exit_code = 40


class LockTimeout(MooringError):
    """A table is locked by others.

    A statement could not get its table lock within `MOORING_LOCK_TIMEOUT`, at every retry: who holds it.
    """

    exit_code = 41


class TablesMissing(MooringError):
    """Expected tables are missing.

    After migrating, or with nothing to run: which tables, and which migration made them.
    """

    exit_code = 50


class Pending(MooringError):
    """Migrations are pending.

    `verify` found files that are not applied.
    """

    exit_code = 60


class Terminated(SystemExit):
    """SIGTERM: psycopg cancels the running statement on its way out, as it does for every SystemExit."""

    exit_code: ClassVar[int] = 143

    def __init__(self) -> None:
        super().__init__(self.exit_code)
