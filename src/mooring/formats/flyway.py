"""Flyway Community: versioned, baseline and repeatable SQL files, and a history with checksums.

Read as Flyway 11.8 reads them (ResourceNameParser, SqlScriptMetadata, ParserSqlScript in flyway-core; PostgreSQLParser),
its table as JdbcTableSchemaHistory and PostgreSQLDatabase keep it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mooring.formats import Applied, Facts, Options, flyway_files
from mooring.formats.flyway_files import FlywayMigration, canonical
from mooring.migration import Folder, Invalid, Migration, problems_of
from mooring.names import TableName, literal, quote


NAME = "flyway"
COLUMNS: tuple[str, ...] = (
    *("installed_rank", "version", "description", "type", "script", "checksum"),
    *("installed_by", "installed_on", "execution_time", "success"),
)
OPTIONS: frozenset[str] = flyway_files.OPTIONS
run = None
MAKES_SCHEMA = True
OUTSIDE = "Put executeInTransaction=false into {}.conf, and what must commit together elsewhere."

order = flyway_files.order

# Flyway's ids begin here, and the hash of the table's name is added (PostgreSQLAdvisoryLockTemplate).
_LOCK_BASE = 77431708279161
_BASELINE_MIGRATION = "SQL_BASELINE"


def read(options: Options) -> Folder:
    """The migrations of all folders and those below them: versioned by number, then repeatable by description.

    Raises Invalid with every problem of every file.
    """
    found = flyway_files.read(options.folders, options)
    problems = list(found.problems)
    by_version: dict[str, FlywayMigration] = {}
    for migration in found.migrations:
        other = by_version.setdefault(migration.version, migration)
        if other is not migration:
            problems.append(f"{migration.name}: is the same version as {other.name}; give it another number")
    if not found.migrations and not problems:
        problems.append(
            f"{', '.join(map(str, options.folders))}: no migrations: Flyway reads files such as V1__create_orders.sql"
        )
    if problems:
        raise Invalid(*sorted([*problems, *problems_of(found.migrations)]))
    numbered = sorted((one for one in found.migrations if one.order), key=lambda one: one.order)
    repeatable = sorted((one for one in found.migrations if not one.order), key=lambda one: one.description)
    return Folder([*numbered, *repeatable], before=found.before, after=found.after)


def create(table: TableName, *, schema_made: bool) -> list[str]:
    """As Flyway creates it (getRawCreateScript), with the row of a schema that it made."""
    queries = [
        f"""CREATE TABLE {table.sql} (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL
)""",
        f"ALTER TABLE {table.sql} ADD CONSTRAINT {quote(f'{table.name}_pk')} PRIMARY KEY (installed_rank)",
        f"CREATE INDEX {quote(f'{table.name}_s_idx')} ON {table.sql} (success)",
    ]
    if schema_made:
        schema = quote(str(table.schema))
        queries = [
            f"CREATE SCHEMA {schema}",
            *queries,
            f"INSERT INTO {table.sql} VALUES (0, NULL, '<< Flyway Schema Creation >>', 'SCHEMA', {literal(schema)}, NULL,"
            " current_user, now(), 0, true)",
        ]
    return queries


def select(table: TableName) -> str:
    """Every row, in the order in which they were written; without a version what is about the table, not a migration."""
    return f"""SELECT CASE
        WHEN type IN ('SCHEMA', 'BASELINE', 'DELETE') OR type LIKE 'UNDO%' THEN NULL
        WHEN version IS NULL THEN 'R ' || description
        ELSE CASE WHEN type = '{_BASELINE_MIGRATION}' THEN 'B' ELSE '' END || regexp_replace(
            regexp_replace(version, '(^|\\.)0+(?=[0-9])', '\\1', 'g'), '(\\.0)+$', '') END,
        json_build_array(installed_rank, type, version, description, checksum, success)::text
        FROM {table.sql}"""


@dataclass(frozen=True)
class _Row:
    rank: int
    type: str
    version: str | None
    description: str
    checksum: int | None
    success: bool

    @property
    def key(self) -> str:
        """As the ledger has it."""
        if self.version is None:
            return f"R {self.description}"
        return "B" * (self.type == _BASELINE_MIGRATION) + canonical(self.version)


def applied(
    rows: Sequence[tuple[str, str]],
    ledger: Mapping[str, bool],  # noqa: ARG001 - Flyway has a row for every version
    migrations: Sequence[Migration],
) -> Applied:
    """What the history says, row by row (MigrationInfoServiceImpl): the last one about a migration counts."""
    last: dict[str, _Row] = {}
    failed: list[_Row] = []
    baseline: tuple[int, ...] = ()
    for row in sorted((_Row(*json.loads(detail)) for _, detail in rows), key=lambda row: row.rank):
        if row.type == "BASELINE":
            baseline = max(baseline, order(canonical(str(row.version))))
        elif row.type == "DELETE" or row.type.startswith("UNDO"):
            last.pop(row.key, None)
        elif not row.success:
            failed.append(row)
        elif row.type != "SCHEMA":
            last[row.key] = row
    files = [migration for migration in migrations if isinstance(migration, FlywayMigration)]
    ignored = _below_baseline_migration(files, last)
    versions = {
        one.version for one in files if one.order and one.order <= baseline and one.version not in {*last, *ignored}
    }
    differs: dict[str, str] = {}
    vouched: set[str] = set()
    for migration in files:
        row_of = last.get(migration.version)
        if not row_of or row_of.checksum is None or row_of.checksum in migration.checksums:
            vouched |= {migration.version} if row_of and row_of.checksum is not None else set()
        elif migration.order:
            differs[migration.version] = (
                f"{migration.name} is not the file that Flyway ran as version {migration.version}: its checksum is"
                f" {migration.checksums[0]}, recorded is {row_of.checksum}"
            )
        else:
            del last[migration.version]
    return Applied(
        versions=frozenset(last) | versions,
        ignored=frozenset(ignored),
        vouched=frozenset(vouched),
        differs=differs,
        stuck=_way_out(failed) if failed else (),
    )


def setup(table: TableName) -> list[str]:
    """Flyway restores role and search path before each migration, and puts the table's schema first in the path."""
    return [
        "RESET ROLE",
        "RESET search_path",
        "SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ',"
        f" {literal(quote(str(table.schema)))}, nullif(pg_catalog.current_setting('search_path'), '')), false)"
        f" WHERE pg_catalog.current_schema() IS DISTINCT FROM {literal(str(table.schema))}",
    ]


def begin(table: TableName, migration: Migration) -> list[str]:  # noqa: ARG001 - Flyway says nothing beforehand
    """Nothing."""
    return []


def record(table: TableName, migration: Migration) -> list[str]:
    """One row more, with the next rank (SchemaHistory.addAppliedMigration)."""
    assert isinstance(migration, FlywayMigration)  # noqa: S101 - for the type checker
    values = (
        literal(migration.display) if migration.order else "NULL",
        literal(_shortened(migration.description)),
        literal(migration.type),
        literal(migration.name if len(migration.name) <= 1000 else f"...{migration.name[3:1000]}"),  # noqa: PLR2004
        str(migration.checksums[0]),
    )
    return [
        f"INSERT INTO {table.sql} (installed_rank, version, description, type, script, checksum, installed_by,"
        f" execution_time, success) SELECT coalesce(max(installed_rank), 0) + 1, {', '.join(values)}, current_user,"
        f" (1000 * extract(epoch FROM clock_timestamp() - transaction_timestamp()))::int, true FROM {table.sql}"
    ]


def locks(facts: Facts, options: Mapping[str, str]) -> list[int]:  # noqa: ARG001 - it has no say in them
    """The key that Flyway takes for the table, as a session or in a transaction: Java's hash of its quoted name."""
    name = f"{quote(str(facts.table.schema))}.{quote(facts.table.name)}".encode("utf-16-be")
    value = 0
    for index in range(0, len(name), 2):
        value = (31 * value + int.from_bytes(name[index : index + 2])) & 0xFFFFFFFF
    return [_LOCK_BASE + (value - 2**32 if value >> 31 else value)]


def _below_baseline_migration(files: Sequence[FlywayMigration], last: Mapping[str, _Row]) -> set[str]:
    """What a baseline migration makes unnecessary: all versions up to its own, and, once anything ran, itself."""
    baselines = [one for one in files if one.type == _BASELINE_MIGRATION]
    numbered = [key for key in last if not key.startswith("R ")]
    ran = [key for key in numbered if key.startswith("B")]
    newest = order(ran[-1]) if ran else (baselines[-1].order if baselines and not numbered else ())
    skipped = {one.version for one in files if one.order and one.order <= newest and one.type != _BASELINE_MIGRATION}
    skipped |= {one.version for one in baselines if numbered or one is not baselines[-1]}
    return skipped - last.keys()


def _way_out(failed: Sequence[_Row]) -> tuple[str, str]:
    """What to say of rows without success: Flyway itself runs nothing before they are repaired."""
    what = ", ".join(row.version or row.description for row in failed)
    return (
        f"Flyway began {what} and it failed: the history says so",
        "Undo by hand what of it is in the database, and then let Flyway forget it: flyway repair.",
    )


def _shortened(description: str) -> str:
    return description if len(description) <= 200 else f"{description[:197]}..."  # noqa: PLR2004 - the column's width
