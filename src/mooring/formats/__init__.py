"""The tools whose folders Mooring reads and whose version tables it keeps: one module each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mooring.errors import MigrationsInvalid, SettingsInvalid
from mooring.migration import Folder, Invalid, Migration, Order
from mooring.names import TableName


if TYPE_CHECKING:
    from mooring.apply import Target


@dataclass(frozen=True, slots=True)
class Facts:
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


@dataclass(frozen=True, slots=True)
class Applied:
    """What the rows of a version table mean."""

    versions: frozenset[str] = frozenset()
    """The versions that are applied."""
    ignored: frozenset[str] = frozenset()
    """The versions of the folder that are never to run here."""
    vouched: frozenset[str] = frozenset()
    """The versions whose content the tool's own checksum confirms."""
    differs: Mapping[str, str] = field(default_factory=dict)
    """The versions whose files are not what the tool's own checksum says, and how to say so."""
    stuck: Sequence[str] = ()
    """Why the tool itself would not go on, and what to do about it."""
    alien: str = ""
    """Why these rows cannot be the tool's."""


class Format(Protocol):
    """What a tool's module says of it."""

    NAME: str
    """As MOORING_FORMAT spells it, and as the default version table begins."""
    SHARED_NAME: str
    """The version table that every service gets from the tool unless it says otherwise."""
    COLUMNS: tuple[str, ...]
    """The columns of a version table."""
    OPTIONS: frozenset[str]
    """The tool's own options: the names of their settings without MOORING_."""
    MAKES_SCHEMA: bool
    """Whether the tool makes the version table's schema where it is not there."""
    OUTSIDE: str
    """What to do with a statement that cannot run in a transaction; {} is its file."""

    def fits(self, folder: Path) -> bool:
        """Whether a folder looks like one of this tool's."""

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
    tool = tools()[name] if name else _find(options.folders)
    if others := sorted(options.tool.keys() - tool.OPTIONS):
        raise SettingsInvalid(*(f"MOORING_{option} is not for migrations of {tool.NAME}" for option in others))
    try:
        return tool, tool.read(options)
    except Invalid as error:
        raise MigrationsInvalid(*error.problems) from None


def _find(folders: Sequence[Path]) -> Format:
    """The tool that the folders look like; it has to be one."""
    where = ", ".join(map(str, folders))
    fitting = [name for name, tool in tools().items() if any(tool.fits(folder) for folder in folders)]
    if len(fitting) == 1:
        return tools()[fitting[0]]
    if fitting:
        raise MigrationsInvalid(
            f"{where}: looks like migrations of {' and of '.join(fitting)}",
            hint=f"Set MOORING_FORMAT={fitting[0]} or MOORING_FORMAT={fitting[1]}, and move away what is not part of them.",
        )
    raise MigrationsInvalid(
        f"{where}: no migrations that Mooring knows",
        hint=f"Set MOORING_FORMAT to {', '.join(tools())} to hear what is wrong with the files.",
    )


def shared_names() -> dict[str, str]:
    """The names that version tables have by default, with the tools that give them."""
    found: dict[str, list[str]] = {}
    for tool in tools().values():
        found.setdefault(tool.SHARED_NAME, []).append(tool.NAME)
    return {name: " and ".join(tool_names) for name, tool_names in found.items()}


def tools() -> dict[str, Format]:
    """Every format by its name."""
    from mooring.formats import alembic, dbmate, flyway, golang_migrate, goose

    modules: list[Format] = [goose, golang_migrate, flyway, dbmate, alembic]
    return {tool.NAME: tool for tool in modules}
