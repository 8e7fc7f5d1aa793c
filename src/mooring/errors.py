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
    """Mooring has a bug."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *problems: str, details: Sequence[str] = (), hint: str = "", **fields: object) -> None:
        self.problems = tuple(map(redact, problems))
        self.details = details
        """More lines for who reads the log."""
        self.hint = hint
        self.fields = fields
        """What a log event of this error carries beside the text: stable keys, plain values."""
        super().__init__(*problems)

    @property
    def summary(self) -> str:
        """The first line of the exception's docstring."""
        return (type(self).__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def line(self) -> str:
        """All that fits on one line: what the termination log shows."""
        return f"exit {self.exit_code}: {'; '.join(self.problems) or self.summary}"

    def __str__(self) -> str:
        text = self.summary
        if self.problems:
            text += ":" + "".join(f"\n  {line}" for line in (*self.problems, *self.details))
        if self.hint:
            text += f"\n{self.hint}"
        return text


class SettingsInvalid(MooringError):
    """The settings are not valid."""

    exit_code = 2


class DatabaseUnreachable(MooringError):
    """The database cannot be reached."""

    exit_code = 10


class NotPermitted(MooringError):
    """The database does not permit this."""

    exit_code = 11


class MigrationsInvalid(MooringError):
    """The folder of migrations is not valid."""

    exit_code = 20


class HistoryDiffers(MooringError):
    """The database's history differs from the folder."""

    exit_code = 21


class ForeignVersionTable(MooringError):
    """The version table is not this service's."""

    exit_code = 22


class MigrationFailed(MooringError):
    """A migration failed."""

    exit_code = 30


class HalfDone(MooringError):
    """A non-transactional migration stopped midway."""

    exit_code = 31


class LockBusy(MooringError):
    """Another runner holds this service's lock."""

    exit_code = 40


class TablesMissing(MooringError):
    """Expected tables are missing."""

    exit_code = 50


class Pending(MooringError):
    """Migrations are pending."""

    exit_code = 60


class Terminated(SystemExit):
    """SIGTERM: psycopg cancels the running statement on its way out, as it does for every SystemExit."""

    def __init__(self) -> None:
        super().__init__(143)
