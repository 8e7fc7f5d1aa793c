"""Whose version table is this? The ledger says, or the evidence: what the recorded files must have left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from mooring.errors import ForeignVersionTable
from mooring.formats import TOOLS, Format
from mooring.history import History
from mooring.lexer import Statement
from mooring.migration import Invalid, Migration
from mooring.names import TableName
from mooring.tables import left_behind


class Policy(NamedTuple):
    """What the settings say about histories."""

    service: str
    allow_shared_name: bool = False
    out_of_order: Collection[str] = ()
    squashed: str | None = None


def refuse_foreign(history: History, tool: Format, policy: Policy) -> None:
    """Raise ForeignVersionTable where the version table's shape, owner or place says that it is not this service's."""
    table, own = history.table, default_table(tool, policy.service)
    if history.alien:
        raise ForeignVersionTable(
            history.alien, hint=f"Set MOORING_VERSION_TABLE={own}, or to another name that is free."
        )
    if history.owner not in (None, policy.service):
        raise ForeignVersionTable(
            f"{table} belongs to {history.owner}, not to {policy.service}",
            hint=f"Set MOORING_VERSION_TABLE={own}: each service needs a version table of its own. If {policy.service} is"
            f" {history.owner} under a new name, keep MOORING_SERVICE={history.owner}.",
            owner=history.owner,
        )
    if not history.exists:
        # golang-migrate, unless told to quote, takes schema.name for a name with a dot in it.
        names = {table.name.lower(), f"{table.schema}.{table.name}".lower()}
        same = (one.setting for one in history.tables if one.name.lower() in names and one != table)
        if namesakes := sorted(same):
            raise ForeignVersionTable(
                f"there is no {table.setting}, but there is {listed(namesakes)}: to start with a new table would run every"
                " migration again",
                hint=f"Set MOORING_VERSION_TABLE={namesakes[0]} if that is {policy.service}'s, or give the new table another"
                " name.",
            )


def evidence(
    adopt: Sequence[Migration], migrations: Sequence[Migration], history: History, tool: Format, policy: Policy
) -> dict[Migration, Collection[TableName]]:
    """What each migration to adopt has left behind. Raises ForeignVersionTable where it is not there."""
    unknown = history.applied - history.entries.keys()
    if not unknown:
        return {}
    newest = max((migration.order for migration in migrations), default=())
    strangers = in_order(unknown - {migration.version for migration in migrations}, tool)
    below = [version for version in strangers if tool.order(version) < newest and not squashed(version, tool, policy)]
    problems = []
    if below or (strangers and not adopt and not history.entries):
        problems.append(f"{policy.service} has no files for the versions {listed(below or strangers)} that it records")
    problems += [text for version, text in history.told.differs.items() if version in unknown]
    applied = [migration for migration in migrations if migration.version in history.applied]
    makers: dict[TableName, Migration] = {}
    for migration in applied:
        makers |= {table: makers.get(table, migration) for table in left_behind(_statements([migration]))}
    standing = left_behind(_statements(applied))
    found: dict[Migration, Collection[TableName]] = {
        migration: sorted((table for table in standing if makers.get(table) is migration), key=str)
        for migration in adopt
    }
    missing = [
        f"{table} ({migration.name})"
        for migration, tables in found.items()
        for table in tables
        if not _is_there(table, history.tables)
    ]
    if missing:
        versions = listed([migration.version for migration in adopt])
        problems.append(
            f"it records the versions {versions}, but what {policy.service} makes with them is not there: {listed(missing)}"
        )
    if problems:
        own = default_table(tool, policy.service)
        raise ForeignVersionTable(
            *(f"{history.table} is another service's: {problem}" for problem in problems),
            details=[f"Every service that uses {tool.NAME} gets {history.table} unless it says otherwise."]
            * (history.table.name == TOOLS[tool.NAME]),
            hint=f"Set MOORING_VERSION_TABLE={own}. If {history.table} is {policy.service}'s own, restore what is missing.",
        )
    return found


def refuse_shared_name(history: History, tool: Format, policy: Policy) -> None:
    """Raise ForeignVersionTable where the next service of this database would, by default, write to the same table."""
    sharing = " and ".join(name for name, table in TOOLS.items() if table == history.table.name)
    if not sharing or policy.allow_shared_name:
        return
    name_it = f"Set MOORING_VERSION_TABLE={default_table(tool, policy.service)}"
    keep_it = f"set MOORING_ALLOW_SHARED_NAME=true if {policy.service} has this database to itself"
    raise ForeignVersionTable(
        f"{history.table} is a version table that services get from {sharing} unless they"
        f" say otherwise: the next one with the same numbers as {policy.service} would find its files applied, and skip them",
        hint=f"S{keep_it[1:]}." if history.applied else f"{name_it}, or {keep_it}.",
    )


def default_table(tool: Format, service: str) -> str:
    """The version table of a service that names none: one that the tool itself, which does not quote, can use too."""
    name = f"{tool.NAME}_{service.lower()}"
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)


def in_order(versions: Iterable[str], tool: Format) -> list[str]:
    """Versions as the tool orders them."""
    return sorted(versions, key=tool.order)


def squashed(version: str, tool: Format, policy: Policy) -> bool:
    """Whether a recorded version needs no file any more."""
    return policy.squashed is not None and tool.order(version) <= tool.order(policy.squashed)


def listed(items: Sequence[str], most: int = 10) -> str:
    """Items for a message: the first ones, and how many there are beside them."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _statements(migrations: Iterable[Migration]) -> list[Statement]:
    """All that recorded migrations ran; nothing where a file is one that Mooring itself would refuse to run."""
    statements: list[Statement] = []
    for migration in migrations:
        try:
            statements += [statement for unit in migration.script.units for statement in unit]
        except Invalid:
            continue
    return statements


def _is_there(table: TableName, tables: Collection[TableName]) -> bool:
    """Whether a table is there; in any schema, where the file leaves that to the search path."""
    return table in tables or (table.schema is None and any(one.name == table.name for one in tables))
