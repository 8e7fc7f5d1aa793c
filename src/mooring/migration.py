"""What a migration is, whichever tool's folder it came from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from mooring.lexer import GAP, Source, Statement


Order = tuple[Any, ...]


class Script(NamedTuple):
    """What a migration sends to the database."""

    units: tuple[tuple[Statement, ...], ...]
    """The statements that commit together. All of them go into one transaction with the version row, if there is one
    unit and `transactional` is set; each goes into a transaction of its own, as far as PostgreSQL allows, otherwise."""
    transactional: bool = True

    @property
    def statements(self) -> list[Statement]:
        """All of its statements."""
        return [statement for unit in self.units for statement in unit]


@dataclass(frozen=True)
class Migration:
    """One file of a folder of migrations."""

    version: str
    """As the ledger has it, e.g. `3`."""
    order: Order
    """What is numbered has its place among others here; what is not, such as a repeatable migration, has ()."""
    source: Source
    parse: Callable[[Migration], Script] = field(repr=False, compare=False)
    """How its format reads it. Raises Invalid."""

    @property
    def name(self) -> str:
        """The file's name, with those of the folders that it is in below the folder of migrations."""
        return self.source.name

    @cached_property
    def checksum(self) -> str:
        """The SHA-256 of its text in UTF-8, with lines ended by a newline alone, so that git's autocrlf is no change."""
        return hashlib.sha256(self.source.text.replace("\r\n", "\n").encode()).hexdigest()

    @cached_property
    def script(self) -> Script:
        """What it runs; read when asked for, because a migration that is recorded never runs again. Raises Invalid."""
        return self.parse(self)


class Folder(NamedTuple):
    """What a service's image carries."""

    migrations: Sequence[Migration]
    """In the order in which they run."""
    before: Sequence[Migration] = ()
    """What runs before the first of a run's migrations, and is recorded nowhere."""
    after: Sequence[Migration] = ()
    """What runs after the last."""


class Invalid(ValueError):
    """Why files cannot be run: each problem begins with the file, and where it is known with line and column."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def problems_of(migrations: Iterable[Migration]) -> list[str]:
    """Every reason why one of them cannot run."""
    problems: list[str] = []
    for migration in migrations:
        try:
            migration.script  # noqa: B018 - reading it is the check
        except Invalid as error:
            problems += error.problems
    return problems


def script_of(blocks: Sequence[Sequence[Statement]], *, transactional: bool) -> Script:
    """Group statements into what commits together. Raises Invalid.

    `blocks` are the statements that the tool would send at once. What a file begins and commits itself is one unit; where
    that is the whole file, it is as good as a file without BEGIN and COMMIT, and commits with its version row. A file that
    commits in the middle cannot be transactional, whatever it says.
    """
    statements = [statement for block in blocks for statement in block]
    if problems := [f"{one.place}: {problem}" for one in statements if (problem := _unusable(one))]:
        raise Invalid(*problems)
    units: list[tuple[Statement, ...]] = []
    unit: list[Statement] = []
    begun = False
    for block in blocks:
        for statement in block:
            if statement.verb in _BEGIN:
                begun = True
                unit += _characteristics(statement)
            elif statement.verb in COMMIT:
                begun = False
                units += [tuple(unit)] if unit else []
                unit = []
            else:
                unit.append(statement)
        if unit and not (begun or transactional):
            units.append(tuple(unit))
            unit = []
    units += [tuple(unit)] if unit else []
    wrapped = bool(statements) and statements[0].verb in _BEGIN and statements[-1].verb in COMMIT
    return Script(tuple(units), transactional=len(units) <= 1 and (transactional or wrapped))


_BEGIN = {"BEGIN", "START"}
COMMIT = {"COMMIT", "END"}
"""The verbs that end a transaction."""
_ALONE = (
    r"VACUUM|ALTER SYSTEM|DISCARD ALL|(CREATE|DROP)( UNIQUE)? INDEX CONCURRENTLY|(CREATE|DROP) (DATABASE|TABLESPACE|SUBSCRIPTION)"
    r"|REINDEX( VERBOSE)? (SCHEMA|DATABASE|SYSTEM|(INDEX|TABLE) CONCURRENTLY)|ALTER TABLE .*DETACH PARTITION .*CONCURRENTLY"
)


def stands_alone(statement: Statement) -> bool:
    """Whether PostgreSQL refuses the statement in a transaction, as far as its first words tell."""
    return re.match(_ALONE, " ".join(statement.words)) is not None


def _unusable(statement: Statement) -> str:
    """Why a statement cannot be part of a migration: it would undo, or leave undecided, what is recorded as done."""
    match statement.words:
        case ["ROLLBACK" | "ABORT", *rest] if "TO" not in rest:
            return f"{statement.verb} would undo what is then recorded as applied"
        case ["PREPARE", "TRANSACTION", *_] | ["COMMIT", "PREPARED", *_]:
            return "two-phase commit leaves the migration undecided"
        case ["COPY", *rest] if {"STDIN", "STDOUT"} & set(rest) and statement.data is None:
            return "COPY FROM STDIN needs data from a client: write INSERT, or COPY FROM a file that the server has"
        case ["COMMIT" | "END", *rest] if "CHAIN" in rest and "NO" not in rest:
            return "COMMIT AND CHAIN is not supported: write COMMIT; BEGIN;"
    return ""


def _characteristics(begin: Statement) -> list[Statement]:
    """What BEGIN asks of its transaction, such as an isolation level, as a statement for Mooring's own transaction."""
    asked = re.sub(rf"(?i)^(BEGIN|START)({GAP}(WORK|TRANSACTION)\b)?", "", begin.text).lstrip()
    named = set(begin.words) - {"BEGIN", "START", "WORK", "TRANSACTION"}
    return [begin._replace(text=f"SET TRANSACTION {asked}", words=("SET", "TRANSACTION"))] if named else []
