"""golang-migrate: a pair of files for each version, and one row that says the newest.

Read as golang-migrate 4.20 reads them (source/parse.go, source/iofs), its table as database/pgx/v5/pgx.go keeps it. The
row is a high-water mark, so the ledger is what knows of gaps.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping, Sequence

from mooring.formats import Applied, Facts, Options
from mooring.formats.folder import files, source_of, statements, strays
from mooring.lexer import Source
from mooring.migration import Folder, Invalid, Migration, Order, Script, problems_of, script_of, stands_alone
from mooring.names import TableName


NAME = "golang-migrate"
COLUMNS: tuple[str, ...] = ("version", "dirty")
OPTIONS = frozenset({"X_MULTI_STATEMENT"})
run = None
MAKES_SCHEMA = False
OUTSIDE = "Leave this statement alone in {}, and put the others elsewhere: then it runs outside a transaction."

_FILE = re.compile(r"([0-9]+)_(.*)\.(down|up)\.(.*)", re.DOTALL)
_LARGEST = 2**63 - 1
_LOCK_SALT = 1486364155


def read(options: Options) -> Folder:
    """The folder's migrations by number. Raises Invalid with every problem of every file."""
    if len(options.folders) > 1:
        raise Invalid(f"{', '.join(map(str, options.folders))}: golang-migrate reads one folder")
    problems = strays(options.folders[0], options.ignore, NAME)
    found: dict[tuple[int, str], Migration] = {}
    multi = options.tool.get("X_MULTI_STATEMENT") == "true"
    for path, name in files(options.folders[0], options.ignore):
        try:
            parts = _FILE.fullmatch(name)
            if not parts:
                problems += _stray(name)
                continue
            key = _version(int(parts[1]), name), parts[3]
            migration = Migration(str(key[0]), key[:1], source_of(path, name), _parse_each if multi else parse)
        except Invalid as error:
            problems += error.problems
            continue
        if key in found:
            problems.append(f"{name}: version {key[0]} {key[1]} is {found[key].name} already; give it another number")
        found.setdefault(key, migration)
    up = {version: migration for (version, direction), migration in found.items() if direction == "up"}
    # A version that has only a down file counts, and runs nothing.
    empty = {
        version: Migration(str(version), (version,), Source(migration.name), lambda _: Script(()))
        for (version, direction), migration in found.items()
        if direction == "down" and version not in up
    }
    if not found and not problems:
        problems.append(
            f"{options.folders[0]}: no migrations: golang-migrate reads files such as 000001_create_orders.up.sql"
        )
    if problems:
        raise Invalid(*sorted([*problems, *problems_of(up.values())]))
    return Folder([migration for _, migration in sorted((up | empty).items())])


def create(table: TableName, *, schema_made: bool) -> list[str]:  # noqa: ARG001 - there are no rows to tell it in
    """As golang-migrate creates it (ensureVersionTable): without a row, nothing has run."""
    return [f"CREATE TABLE {table.sql} (version bigint not null primary key, dirty boolean not null)"]


def select(table: TableName) -> str:
    """The only row."""
    return f"SELECT version::text, dirty::text FROM {table.sql}"


def applied(rows: Sequence[tuple[str, str]], ledger: Mapping[str, bool], migrations: Sequence[Migration]) -> Applied:
    """What has run, as far as a high-water mark and the ledger tell.

    A file up to the mark that the ledger does not know ran without Mooring, if its number is above all that the ledger
    knows; if not, golang-migrate itself would never run it.
    """
    if len(rows) > 1:
        return Applied(alien=f"has {len(rows)} rows, and golang-migrate keeps one")
    mark, dirty = (int(rows[0][0]), rows[0][1] == "true") if rows else (-1, False)
    known = {int(version) for version in ledger if int(version) <= mark}
    newest_known = max(known, default=-1)
    versions = known | {number for (number,) in (m.order for m in migrations) if newest_known < number <= mark}
    versions |= {mark} if mark >= 0 else set()
    if dirty:
        versions.discard(mark)
        own = ledger.get(str(mark)) is False
        return Applied(_texts(versions), stuck=() if own else _way_out(mark, sorted(versions)))
    return Applied(_texts(versions))


def order(version: str) -> Order:
    """By number."""
    return (int(version),)


def setup(table: TableName) -> list[str]:  # noqa: ARG001 - a session's settings stay as a file leaves them
    """Nothing."""
    return []


def begin(table: TableName, migration: Migration) -> list[str]:
    """The mark on the migration, dirty: golang-migrate says so before every file, Mooring only where it must."""
    version = int(migration.version)
    return _mark(table, version, "true", f"SET version = {version}, dirty = true WHERE version <= {version}")


def record(table: TableName, migration: Migration) -> list[str]:
    """The mark on the migration, clean, unless it is higher already: then this one runs out of order.

    golang-migrate truncates first; an UPDATE leaves the same row, and waits for nobody.
    """
    version = int(migration.version)
    return _mark(table, version, "false", f"SET version = greatest(version, {version}), dirty = false")


def locks(facts: Facts, options: Mapping[str, str]) -> list[int]:  # noqa: ARG001 - it has no say in them
    """The key of its command, which hashes the path of the URL, and of its library (database/util.go)."""
    table, database = facts.table, facts.database
    names = (f"{table.schema}\0{table.name}\0{name}" for name in (f"/{database}", database))
    return [(zlib.crc32(name.encode()) * _LOCK_SALT) & 0xFFFFFFFF for name in names]


_MAY_STAND_ALONE = re.compile(
    r"(CALL|CLUSTER|REINDEX)\b|DO\b.*\b(COMMIT|ROLLBACK)\b|ALTER\b.*\bDETACH\b.*\bCONCURRENTLY\b",
    re.IGNORECASE | re.DOTALL,
)


def parse(migration: Migration) -> Script:
    """A file as golang-migrate sends it, all at once: one transaction, unless it is one statement that may not be in one.

    Whether it may, PostgreSQL decides when it runs: a procedure may commit, and an index have partitions.
    """
    found = statements(migration.source)
    alone = len(found) == 1 and (stands_alone(found[0]) or _MAY_STAND_ALONE.match(found[0].text) is not None)
    return script_of([found], transactional=not alone)


def _parse_each(migration: Migration) -> Script:
    """A file as golang-migrate sends it with x-multi-statement: statement by statement."""
    return script_of([(statement,) for statement in statements(migration.source)], transactional=False)


def _version(version: int, name: str) -> int:
    if version > _LARGEST:
        raise Invalid(f"{name}: version {version} does not fit into the version table, whose largest is {_LARGEST}")
    return version


def _stray(name: str) -> list[str]:
    """The problem of a file that golang-migrate passes over without a word, though it looks like a migration."""
    if name.lower().endswith(".sql"):
        return [f"{name}: golang-migrate would pass over it; name it NUMBER_name.up.sql, or set MOORING_IGNORE={name}"]
    return []


def _mark(table: TableName, version: int, dirty: str, change: str) -> list[str]:
    """Change the only row, or write it."""
    return [
        f"UPDATE {table.sql} {change}",
        f"INSERT INTO {table.sql} (version, dirty) SELECT {version}, {dirty} WHERE NOT EXISTS (SELECT FROM {table.sql})",
    ]


def _texts(versions: Collection[int]) -> frozenset[str]:
    return frozenset(map(str, versions))


def _way_out(mark: int, before: Sequence[int]) -> tuple[str, str]:
    """What to say of a dirty row: it has the version that failed, so the one to force is mostly that before it."""
    last = before[-1] if before else -1
    return (
        f"golang-migrate began version {mark} and did not end it: its row is dirty",
        f"See what of version {mark} is in the database. If nothing is, say so with: migrate … force {last}"
        f" - if all of it is: migrate … force {mark} - and then start again.",
    )
