"""The tools whose folders Mooring reads and whose version tables it keeps: one module each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mooring.formats import goose
from mooring.migration import Migration
from mooring.names import TableName


class Format(Protocol):
    """What a tool's module says of it."""

    NAME: str
    """As MOORING_FORMAT spells it, and as the default version table begins."""
    SHARED_NAME: str
    """The version table that every service gets from the tool unless it says otherwise."""
    COLUMNS: tuple[str, ...]
    """The columns without which a table is not the tool's version table."""

    def read(self, folder: Path) -> list[Migration]:
        """The folder's migrations in the order in which they run.

        Raises MigrationsInvalid with every file that the tool could not read, or would pass over.
        """

    def create(self, table: TableName) -> list[str]:
        """The SQL that makes the version table, and writes what the tool expects to find in a new one."""

    def select(self, table: TableName) -> str:
        """A query for the versions that the version table has, as text, and for a format's own detail of each."""

    def order(self, version: str) -> tuple[int, ...]:
        """Where a version that the table has stands among others. Raises ValueError if it cannot be this tool's."""

    def record(self, table: TableName, migration: Migration) -> str:
        """The SQL that records a migration as applied, in the transaction that applies it."""


def names() -> tuple[str, ...]:
    """The formats that MOORING_FORMAT can name."""
    return ("goose",)


def read(folders: Sequence[Path], name: str | None) -> tuple[Format, list[Migration]]:
    """The format of a folder, and its migrations in the order in which they run. Raises MigrationsInvalid."""
    tools: dict[str | None, Format] = {None: goose, goose.NAME: goose}
    [folder] = folders
    return tools[name], tools[name].read(folder)
