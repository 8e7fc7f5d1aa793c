"""The tools whose folders Mooring reads and whose version tables it keeps: one module each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mooring.errors import MigrationsInvalid, SettingsInvalid
from mooring.migration import Folder, Invalid, Migration, Order
from mooring.names import TableName


TOOLS: Mapping[str, str] = {
    "goose": "goose_db_version",
    "golang-migrate": "schema_migrations",
    "flyway": "flyway_schema_history",
    "dbmate": "schema_migrations",
    "alembic": "alembic_version",
}
"""The formats, each with the version table that every service gets from the tool unless it says otherwise."""

if TYPE_CHECKING:
    from mooring.target import Target


class Facts(NamedTuple):
    """What only the database knows."""

    user: str
    database: str
    schema: str
    """Where a table without a schema would be made."""
    table: TableName
    """The version table, with its schema."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say about reading a folder."""

    folders: Sequence[Path] = ()
    ignore: Sequence[str] = ()
    """Globs of files to leave alone, relative to the folder."""
    tool: Mapping[str, str] = field(default_factory=dict)
    """The tool's own options that are set, under the names of their settings without MOORING_."""
    known: dict[str, Facts] = field(default_factory=dict)
    """Filled, under "facts", once the database has been asked: which is before any script is read."""


class Applied(NamedTuple):
    """What the rows of a version table mean."""

    versions: frozenset[str] = frozenset()
    """The versions that are applied."""
    ignored: frozenset[str] = frozenset()
    """The versions of the folder that are never to run here."""
    vouched: frozenset[str] = frozenset()
    """The versions whose content the tool's own checksum confirms."""
    differs: Mapping[str, str] = MappingProxyType({})
    """The versions whose files are not what the tool's own checksum says, and how to say so."""
    stuck: Sequence[str] = ()
    """Why the tool itself would not go on, and what to do about it."""
    alien: str = ""
    """Why these rows cannot be the tool's."""


class Format(Protocol):
    """What a tool's module says of it."""

    NAME: str
    """As MOORING_FORMAT spells it, and as the default version table begins."""
    COLUMNS: tuple[str, ...]
    """The columns of a version table."""
    OPTIONS: frozenset[str]
    """The tool's own options: the names of their settings without MOORING_."""
    MAKES_SCHEMA: bool
    """Whether the tool makes the version table's schema where it is not there."""
    OUTSIDE: str
    """What to do with a statement that cannot run in a transaction; {} is its file."""

    def read(self, options: Options) -> Folder:
        """What the folders have.

        Raises Invalid with every file that the tool could not read, or would pass over.
        """

    def create(self, table: TableName, *, schema_made: bool) -> list[str]:
        """The SQL that makes the version table, and writes what the tool expects to find in a new one."""

    def select(self, table: TableName) -> str:
        """A query for the version table's rows: a version, or NULL where a row is not about one, and a detail, as texts."""

    def applied(
        self, rows: Sequence[tuple[str, str]], ledger: Mapping[str, bool], migrations: Sequence[Migration]
    ) -> Applied:
        """What the rows of `select` mean, given what the folder has, and the versions that the ledger knows: all done, or not."""

    def order(self, version: str) -> Order:
        """Where a version that the table has stands among others, () if it is not numbered."""

    def setup(self, table: TableName) -> list[str]:
        """The SQL that the tool sends before each migration, so that it finds the session as the first one did."""

    def begin(self, table: TableName, migration: Migration) -> list[str]:
        """The SQL that says that a non-transactional migration is about to run."""

    def record(self, table: TableName, migration: Migration) -> list[str]:
        """The SQL that records a migration as applied, in the transaction that applies it or ends it."""

    @property
    def run(self) -> Callable[[Target, Sequence[Migration], Options], Iterator[tuple[Migration, int]]] | None:
        """How the tool runs migrations that are not SQL: yields each with its milliseconds. None for those that are."""

    def locks(self, facts: Facts, options: Mapping[str, str]) -> list[int]:
        """The keys of the advisory locks that the tool takes while it migrates the version table."""


def read(options: Options, name: str | None) -> tuple[Format, Folder]:
    """Whose migrations these are, and what they are.

    Raises MigrationsInvalid, or SettingsInvalid where an option is set that is another tool's.
    """
    from mooring.formats.detect import detect
    from mooring.formats.folder import content

    try:
        found = tool(name) if name else detect(options)
        if others := sorted(options.tool.keys() - found.OPTIONS):
            raise SettingsInvalid(*(f"MOORING_{option} is not for migrations of {found.NAME}" for option in others))
        return found, found.read(options)
    except Invalid as error:
        raise MigrationsInvalid(*error.problems) from None
    finally:
        content.cache_clear()


def tool(name: str) -> Format:
    """A format by its name: imported by itself, because a run needs no other."""
    match name:
        case "goose":
            from mooring.formats import goose

            return goose
        case "golang-migrate":
            from mooring.formats import golang_migrate

            return golang_migrate
        case "flyway":
            from mooring.formats import flyway

            return flyway
        case "dbmate":
            from mooring.formats import dbmate

            return dbmate
        case _:
            from mooring.formats import alembic

            return alembic
