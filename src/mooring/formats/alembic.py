"""Alembic: a graph of Python revisions, and a row for each head.

Reading needs neither Alembic nor the application: a revision's place in the graph stands in its file as literals, and is
read from there. Only what is pending is imported, and run by Alembic itself (mooring.formats.alembic_run). The version
table is as Alembic 1.20 keeps it (DefaultImpl.version_table_impl, HeadMaintainer).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mooring.formats import Applied, Facts, Options
from mooring.formats.folder import files, source_of
from mooring.lexer import Source, Statement, UnfinishedError, split
from mooring.migration import COMMIT, Folder, Invalid, Migration, Order, Script
from mooring.names import TableName, quote


if TYPE_CHECKING:
    from mooring.target import Target

NAME = "alembic"
COLUMNS: tuple[str, ...] = ("version_num",)
OPTIONS = frozenset({"VERSION_LOCATIONS", "RECURSIVE_VERSION_LOCATIONS", "ENV_PY"})
MAKES_SCHEMA = False
OUTSIDE = "In {}, put this statement below with op.get_context().autocommit_block():."

_FILE = re.compile(r"(?!\.\#|__init__)(.*\.py)")
_GRAPH = ("revision", "down_revision", "depends_on", "branch_labels")
_LONGEST = 32


@dataclass(frozen=True)
class Revision(Migration):
    """A file, and what it says of its place in the graph."""

    parents: tuple[str, ...] = ()
    """What must have run before it: its down revisions, and what it depends on."""


def read(options: Options) -> Folder:
    """The revisions from the base to the head. Raises Invalid with every problem of every file."""
    problems: list[str] = []
    found: dict[str, Revision] = {}
    for folder in locations(options.folders, options.tool):
        recursive = options.tool.get("RECURSIVE_VERSION_LOCATIONS") == "true"
        for path, name in files(folder, options.ignore, recursive=recursive):
            if not _FILE.fullmatch(path.name):
                continue
            try:
                revision = _revision(source_of(path, name))
            except Invalid as error:
                problems += error.problems
                continue
            if revision.version in found:
                problems.append(f"{name}: revision {revision.version} is {found[revision.version].name} already")
            found.setdefault(revision.version, revision)
    if not found and not problems:
        problems.append(
            f"{', '.join(map(str, options.folders))}: no revisions: Alembic reads files such as versions/1975ea_orders.py"
        )
    ordered = _ordered(found, problems)
    heads = found.keys() - {parent for revision in found.values() for parent in revision.parents}
    if len(heads) > 1 and not problems:
        names = ", ".join(sorted(found[head].name for head in heads))
        problems.append(f"{names}: {len(heads)} heads: make one of them with alembic merge heads")
    if problems:
        raise Invalid(*sorted(problems))
    return Folder(ordered)


def locations(folders: Sequence[Path], options: Mapping[str, str]) -> list[Path]:
    """Where the revisions are: in the locations that are named, or in `versions`, or in the folder itself."""
    if named := options.get("VERSION_LOCATIONS"):
        return [folders[0] / one.strip() for one in named.split(",")]
    return [folder / "versions" if (folder / "versions").is_dir() else folder for folder in folders]


def create(table: TableName, *, schema_made: bool) -> list[str]:  # noqa: ARG001 - Alembic makes no schema
    """As Alembic creates it."""
    key = quote(f"{table.name}_pkc")
    return [f"CREATE TABLE {table.sql} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {key} PRIMARY KEY (version_num))"]


def select(table: TableName) -> str:
    """The heads."""
    return f"SELECT version_num::text, NULL FROM {table.sql}"


def applied(rows: Sequence[tuple[str, str]], ledger: Mapping[str, bool], migrations: Sequence[Migration]) -> Applied:
    """All that the heads stand on; where an image does not know a head, all that the ledger knows."""
    files = {one.version: one for one in migrations if isinstance(one, Revision)}
    heads = [version for version, _ in rows]
    unknown = [head for head in heads if head not in files]
    versions = {version for version, complete in ledger.items() if complete} if unknown else set()
    waiting = list(heads)
    while waiting:
        version = waiting.pop()
        if version in files:
            waiting += [parent for parent in files[version].parents if parent not in versions]
        versions.add(version)
    differs = {
        one.version: f"{one.name} is not recorded, and the database is at {', '.join(unknown)}, which has no file here"
        for one in files.values()
        if unknown and one.version not in versions
    }
    return Applied(frozenset(versions), differs=differs)


def order(version: str) -> Order:  # noqa: ARG001 - the graph knows, not the name
    """What has no file is newer than every file."""
    return (1,)


def setup(table: TableName) -> list[str]:  # noqa: ARG001 - Alembic does its own
    """Nothing."""
    return []


def begin(table: TableName, migration: Migration) -> list[str]:  # noqa: ARG001
    """Nothing."""
    return []


def record(table: TableName, migration: Migration) -> list[str]:  # noqa: ARG001
    """Nothing: Alembic itself moves its heads."""
    return []


def locks(facts: Facts, options: Mapping[str, str]) -> list[int]:  # noqa: ARG001
    """None: Alembic takes no lock."""
    return []


def run(target: Target, pending: Sequence[Migration], options: Options) -> Iterator[tuple[Migration, int]]:
    """Let Alembic run what is pending; yield each revision with its milliseconds when it is committed."""
    from mooring.formats import alembic_run

    return alembic_run.run(target, pending, options)


def _revision(source: Source) -> Revision:
    """What a file says of itself, without running it. Raises Invalid."""
    try:
        module = ast.parse(source.text)
    except SyntaxError as error:
        raise Invalid(f"{source.name}:{error.lineno}:{error.offset}: {error.msg}") from None
    values: dict[str, object] = {}
    problems = []
    for node in module.body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        if (
            not isinstance(target, ast.Name)
            or target.id not in _GRAPH
            or not isinstance(node, ast.Assign | ast.AnnAssign)
        ):
            continue
        try:
            values[target.id] = ast.literal_eval(node.value) if node.value else None
        except ValueError:
            problems.append(f"{source.name}:{node.lineno}:1: {target.id} is computed; write it as a literal")
    version = values.get("revision")
    if not isinstance(version, str):
        problems.append(f"{source.name}:1:1: no revision = '…'")
    elif len(version) > _LONGEST:
        problems.append(
            f"{source.name}: revision {version} is longer than the {_LONGEST} characters of the version table"
        )
    if problems:
        raise Invalid(*problems)
    parents = (*_texts(values.get("down_revision")), *_texts(values.get("depends_on")))
    return Revision(str(version), (), source, parse, parents)


def _texts(value: object) -> tuple[str, ...]:
    """A revision's reference to others: none, one, or several."""
    if value is None:
        return ()
    return (
        (value,) if isinstance(value, str) else tuple(map(str, value)) if isinstance(value, list | tuple | set) else ()
    )


def _ordered(found: dict[str, Revision], problems: list[str]) -> list[Revision]:
    """Parents before children, and otherwise by file; what is referred to and is not there is a problem."""
    placed: dict[str, Revision] = {}
    left = sorted(found.values(), key=lambda one: one.name)
    for revision in left:
        problems += [
            f"{revision.name}: there is no revision {parent}, on which it builds"
            for parent in revision.parents
            if parent not in found
        ]
    while left:
        ready = [one for one in left if all(parent in placed or parent not in found for parent in one.parents)]
        if not ready:
            problems.append(f"{', '.join(one.name for one in left)}: build on each other in a circle")
            break
        placed |= {one.version: one for one in ready}
        left = [one for one in left if one.version not in placed]
    return list(placed.values())


def parse(migration: Migration) -> Script:
    """What a revision will do to tables, as far as its text tells: evidence that it ran, and nothing that Mooring sends.

    It is not transactional if it has an autocommit block, or a COMMIT of its own: either commits all before it.
    """
    statements: list[Statement] = []
    upgrade = [node for node in ast.parse(migration.source.text).body if getattr(node, "name", "") == "upgrade"]
    calls = sorted(
        (node for function in upgrade for node in ast.walk(function) if isinstance(node, ast.Call)),
        key=lambda node: (node.lineno, node.col_offset),
    )
    blocks = False
    for call in calls:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        blocks = blocks or name == "autocommit_block"
        texts = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        keywords = {one.arg: one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)}
        if name in {"create_table", "drop_table", "rename_table"} and texts:
            schema = keywords.get("schema")
            table = TableName(schema if isinstance(schema, str) else None, texts[0]).sql
            form = {
                "create_table": "CREATE TABLE {}",
                "drop_table": "DROP TABLE {}",
                "rename_table": "ALTER TABLE {} RENAME TO {}",
            }
            sql = form[name].format(table, *(quote(one) for one in texts[1:2]))
            statements.append(Statement(migration.source, sql, call.lineno, call.col_offset + 1, ()))
        elif name in {"execute", "text"} and texts:
            try:
                found, rest = split(texts[0], source=migration.source)
            except UnfinishedError:
                continue
            statements += [*found, *([rest] if rest else [])]
    blocks = blocks or any(one.verb in COMMIT for one in statements)
    return Script((tuple(statements),) if statements else (), transactional=not blocks)
