"""dbmate: SQL files with sections, in the order of their names, and a row for each version as text.

Read as dbmate 2.36 reads them (pkg/dbmate/migration.go, db.go), its table as pkg/driver/postgres/postgres.go keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mooring.formats import Applied, Facts, Options
from mooring.formats.folder import files, source_of, statements, strays
from mooring.lexer import Statement
from mooring.migration import Folder, Invalid, Migration, Order, Script, problems_of, script_of
from mooring.names import TableName, literal, quote


NAME = "dbmate"
COLUMNS: tuple[str, ...] = ("version",)
OPTIONS: frozenset[str] = frozenset()
run = None
MAKES_SCHEMA = True
OUTSIDE = "Write -- migrate:up transaction:false in {}, and put what must commit together elsewhere."

_FILE = re.compile(r"(\d+).*\.sql", re.DOTALL)
_UP = re.compile(r"^--\s*migrate:up(\s*$|\s+\S+)", re.MULTILINE)
_DOWN = re.compile(r"^--\s*migrate:down(\s*$|\s+\S+)", re.MULTILINE)


def read(options: Options) -> Folder:
    """The migrations of all folders by file name, as text: 10_x.sql runs before 9_x.sql. Raises Invalid."""
    problems = [problem for folder in options.folders for problem in strays(folder, options.ignore, NAME)]
    found: dict[str, Migration] = {}
    paths = [entry for folder in options.folders for entry in files(folder, options.ignore)]
    for path, name in sorted(paths, key=lambda entry: entry[1]):
        try:
            parts = _FILE.fullmatch(name)
            if not parts:
                problems += _stray(name)
                continue
            migration = Migration(parts[1], (parts[1], name), source_of(path, name), parse)
        except Invalid as error:
            problems += error.problems
            continue
        if parts[1] in found:
            problems.append(f"{name}: version {parts[1]} is {found[parts[1]].name} already; give it another number")
        found.setdefault(parts[1], migration)
    if not found and not problems:
        problems.append(
            f"{', '.join(map(str, options.folders))}: no migrations: dbmate reads files such as 20260101_orders.sql"
        )
    if problems:
        raise Invalid(*sorted([*problems, *problems_of(found.values())]))
    return Folder(list(found.values()))


def create(table: TableName, *, schema_made: bool) -> list[str]:
    """As dbmate creates it, with its schema if that is not there."""
    schema = [f"create schema if not exists {quote(str(table.schema))}"] * schema_made
    return [*schema, f"create table {table.sql} (version varchar primary key)"]


def select(table: TableName) -> str:
    """Every row."""
    return f"SELECT version::text, NULL FROM {table.sql}"


def applied(
    rows: Sequence[tuple[str, str]],
    ledger: Mapping[str, bool],  # noqa: ARG001 - dbmate has a row for every version
    migrations: Sequence[Migration],  # noqa: ARG001
) -> Applied:
    """What `select` found."""
    return Applied(frozenset(version for version, _ in rows))


def order(version: str) -> Order:
    """As text: a version stands before the files that begin with it."""
    return (version,)


def setup(table: TableName) -> list[str]:  # noqa: ARG001 - a session's settings stay as a file leaves them
    """Nothing."""
    return []


def begin(table: TableName, migration: Migration) -> list[str]:  # noqa: ARG001 - dbmate says nothing beforehand
    """Nothing."""
    return []


def record(table: TableName, migration: Migration) -> list[str]:
    """One row more."""
    return [f"INSERT INTO {table.sql} (version) VALUES ({literal(migration.version)})"]


def locks(facts: Facts, options: Mapping[str, str]) -> list[int]:  # noqa: ARG001 - it has none
    """None: dbmate takes no lock."""
    return []


def parse(migration: Migration) -> Script:
    """What a file's up sections run. Raises Invalid.

    dbmate sends a section at once; with several, it records the version after the first already, and fails at the second
    (amacneil/dbmate#820). Mooring runs all of them and then records it.
    """
    name, text = migration.name, migration.source.text
    ups, downs = list(_UP.finditer(text)), list(_DOWN.finditer(text))
    if not ups:
        raise Invalid(f"{name}:1:1: no -- migrate:up line")
    problems = [
        f"{name}:{number}:1: only comments with -- can stand before -- migrate:up"
        for number, line in enumerate(text[: ups[0].start()].split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("--")
    ][:1]
    blocks: list[Sequence[Statement]] = []
    transactional = True
    for up, end in zip(ups, [*(later.start() for later in ups[1:]), len(text)], strict=True):
        own = [down for down in downs if up.start() < down.start() < end]
        line = text.count("\n", 0, up.start()) + 1
        if not own:
            problems.append(f"{name}:{line}:1: no -- migrate:down follows this -- migrate:up")
            continue
        if len(own) > 1:
            problems.append(f"{name}:{text.count(chr(10), 0, own[1].start()) + 1}:1: a second -- migrate:down")
        options = text[up.start() :].partition("\n")[0].split()
        outside = "transaction:false" in options
        transactional = transactional and not outside
        try:
            section = statements(migration.source, up.start(), own[0].start())
        except Invalid as error:
            problems += error.problems
            continue
        blocks += [(statement,) for statement in section] if outside else [section]
    problems += [f"{name}:1:1: -- migrate:down before -- migrate:up"] * any(d.start() < ups[0].start() for d in downs)
    if problems:
        raise Invalid(*problems)
    return script_of([block for block in blocks if block], transactional=transactional)


def _stray(name: str) -> list[str]:
    """The problem of a file that dbmate passes over without a word, though it looks like a migration."""
    if name.lower().endswith(".sql"):
        return [f"{name}: dbmate would pass over it; name it NUMBER_name.sql, or set MOORING_IGNORE={name}"]
    return []
