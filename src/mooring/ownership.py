"""Whose version table is this? The ledger says, or the evidence: what the recorded files must have left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mooring.errors import ForeignVersionTable
from mooring.formats import Format
from mooring.history import History
from mooring.lexer import Statement
from mooring.migration import Invalid, Migration
from mooring.names import TableName
from mooring.tables import left_behind


@dataclass(frozen=True)
class Policy:
    """What the settings say about histories."""

    service: str
    allow_shared_name: bool = False
    out_of_order: Collection[str] = ()
    squashed: str | None = None


def refuse_foreign(history: History, tool: Format, policy: Policy) -> None:
    """Raise ForeignVersionTable where the version table's shape, owner or place says that it is not this service's."""
    table, own = history.table, default_table(tool, policy.service)
    if history.alien:
        raise ForeignVersionTable(history.alien, hint=f"Set MOORING_VERSION_TABLE={own}, or to another name that is free.")
    if history.owner not in (None, policy.service):
        raise ForeignVersionTable(
            f"{table} belongs to {history.owner}, not to {policy.service}",
            hint=f"Set MOORING_VERSION_TABLE={own}: each service needs a version table of its own. If {policy.service} is"
            f" {history.owner} under a new name, keep MOORING_SERVICE={history.owner}.",
            owner=history.owner,
        )
    if not history.exists:
        namesakes = [one for one in history.tables if one.name.lower() == table.name.lower() and one != table]
        if namesakes:
            raise ForeignVersionTable(
                f"there is no {table}, but there is {listed(sorted(map(str, namesakes)))}: to start with a new table would run"
                " every migration again",
                hint=f"Set MOORING_VERSION_TABLE={min(map(str, namesakes))} if that is {policy.service}'s, or give the"
                " new table another name.",
            )


def evidence(
    adopt: Sequence[Migration], migrations: Sequence[Migration], history: History, tool: Format, policy: Policy
) -> dict[Migration, Collection[TableName]]:
    """What each migration to adopt has left behind. Raises ForeignVersionTable where it is not there."""
    unknown = history.applied - history.entries.keys()
    if not unknown:
        return {}
    problems = []
    newest = migrations[-1].order
    strangers = unknown - {migration.version for migration in migrations}
    below = [v for v in in_order(strangers, tool) if tool.order(v) < newest and not squashed(v, tool, policy)]
    if below:
        problems.append(f"it has the versions {listed(below)}, for which {policy.service} has no files")
    elif not adopt and not history.entries and strangers:
        problems.append(f"it has the versions {listed(in_order(strangers, tool))} and none of {policy.service}'s")
    left: dict[TableName, Migration] = {}
    applied = [migration for migration in migrations if migration.version in history.applied]
    for migration in applied:
        left |= {table: left.get(table, migration) for table in left_behind(_statements([migration]))}
    standing = left_behind(_statements(applied))
    found: dict[Migration, Collection[TableName]] = {
        migration: [table for table in standing if left.get(table) is migration] for migration in adopt
    }
    for migration, tables in found.items():
        for table in tables:
            if not _is_there(table, history.tables):
                problems.append(f"it says that {migration.name} ran, but the table {table} that this file makes is not there")
    if problems:
        raise ForeignVersionTable(
            *(f"{history.table} is not explained by {policy.service}'s files: {problem}" for problem in problems),
            hint=f"If another service writes {history.table}, set MOORING_VERSION_TABLE={default_table(tool, policy.service)}."
            f" If it is {policy.service}'s own, restore what is missing.",
        )
    return found


def refuse_shared_name(history: History, tool: Format, policy: Policy) -> None:
    """Raise ForeignVersionTable where the next service of this database would, by default, write to the same table."""
    if history.table.name != tool.SHARED_NAME or policy.allow_shared_name:
        return
    name_it = f"Set MOORING_VERSION_TABLE={default_table(tool, policy.service)}"
    keep_it = f"set MOORING_ALLOW_SHARED_NAME=true if {policy.service} has this database to itself"
    raise ForeignVersionTable(
        f"{history.table} is the version table that every service gets from {tool.NAME} unless it says otherwise: the next"
        f" one with the same numbers as {policy.service} would find its files applied already, and skip them",
        hint=f"{keep_it.capitalize()}." if history.applied else f"{name_it}, or {keep_it}.",
    )


def default_table(tool: Format, service: str) -> str:
    """The version table of a service that names none: one that the tool itself, which does not quote, can use too."""
    return f"{tool.NAME}_" + "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in service.lower())


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
