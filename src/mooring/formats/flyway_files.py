"""Flyway's files: their names, their script configurations, their placeholders, and what they run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mooring.formats import Options
from mooring.formats.flyway_placeholders import Replacement
from mooring.formats.folder import files, source_of, statements
from mooring.lexer import Source, Statement
from mooring.migration import Invalid, Migration, Order, Script, script_of, stands_alone


OPTIONS = frozenset(
    {
        *("SQL_MIGRATION_PREFIX", "REPEATABLE_SQL_MIGRATION_PREFIX", "BASELINE_MIGRATION_PREFIX"),
        *("SQL_MIGRATION_SEPARATOR", "SQL_MIGRATION_SUFFIXES", "ENCODING", "MIXED", "TARGET"),
        *("PLACEHOLDER_REPLACEMENT", "PLACEHOLDER_PREFIX", "PLACEHOLDER_SUFFIX", "PLACEHOLDER_SEPARATOR"),
    }
)

_CALLBACKS = ("beforeMigrate", "beforeEachMigrate", "afterEachMigrate", "afterMigrate")
_OTHER_CALLBACKS = re.compile(
    r"(before|after)(Clean|Validate|Baseline|Repair|Info|Undo|EachUndo|EachUndoStatement|EachMigrateStatement|Repeatables"
    r"|Versioned|MigrateApplied|MigrateOperationFinish|InfoOperationFinish|CreateSchema|Connect|EachMigrate|Migrate)(Error)?"
    r"|createSchema"
)
_VERSION = re.compile(r"\d+([._]\d+)*")
_CONFIGURATION = ("executeInTransaction", "encoding", "placeholderReplacement")
_COMPILED = (".java", ".class", ".kt", ".jar")


@dataclass(frozen=True)
class FlywayMigration(Migration):
    """A file, as Flyway records it."""

    display: str = ""
    """The version as it stands in the file's name, with dots."""
    description: str = ""
    type: str = "SQL"
    replace: Replacement | None = field(default=None, repr=False, compare=False)

    @cached_property
    def checksums(self) -> Sequence[int]:
        """The checksum that Flyway records, and one that it takes for the same."""
        raw = checksum(self.source.text)
        return (raw,) if self.order or not self.replace else (checksum(self.replace(self.source)), raw)


@dataclass(frozen=True)
class Found:
    """What is in the folders."""

    migrations: Sequence[FlywayMigration]
    before: Sequence[Migration]
    after: Sequence[Migration]
    problems: Sequence[str]


def checksum(text: str) -> int:
    """Flyway's checksum: one CRC-32 over all lines without their ends, as a signed number (ChecksumCalculator)."""
    crc = 0
    for line in re.split("\r\n|\r|\n", text.removeprefix("\ufeff")):
        crc = zlib.crc32(line.encode(), crc)
    return crc - 2**32 if crc >> 31 else crc


def canonical(version: str) -> str:
    """A version as all its spellings have it: 1, 1.0 and 01 are the same (MigrationVersion)."""
    return ".".join(map(str, order(version)))


def order(version: str) -> tuple[int, ...]:
    """The numbers of a version, without zeros at the end; () for what has none."""
    if version.startswith("R "):
        return ()
    parts = [int(part) for part in re.split("[._]", version.removeprefix("B"))]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return tuple(parts)


class _Reader:
    """Reads folders with one set of options."""

    def __init__(self, options: Options) -> None:
        tool = options.tool
        self.options = options
        self.prefix = tool.get("SQL_MIGRATION_PREFIX", "V")
        self.repeatable = tool.get("REPEATABLE_SQL_MIGRATION_PREFIX", "R")
        self.baseline = tool.get("BASELINE_MIGRATION_PREFIX", "B")
        self.separator = tool.get("SQL_MIGRATION_SEPARATOR", "__")
        self.suffixes = [suffix.strip() for suffix in tool.get("SQL_MIGRATION_SUFFIXES", ".sql").split(",")]
        self.encoding = tool.get("ENCODING", "UTF-8")
        self.mixed = tool.get("MIXED") == "true"
        self.replace = Replacement(options)
        self.target = _target(tool.get("TARGET", "latest"))
        self.callbacks: dict[str, list[FlywayMigration]] = {event: [] for event in _CALLBACKS}
        self.migrations: list[FlywayMigration] = []
        self.problems: list[str] = []

    def folder(self, folder: Path) -> None:
        """Read one folder and those below it."""
        for path, name in files(folder, self.options.ignore, recursive=True):
            suffix = next((one for one in self.suffixes if path.name.lower().endswith(one.lower())), None)
            if suffix is None:
                if path.suffix in _COMPILED and re.match(r"[VRBU][\d_]", path.name):
                    self.problems.append(f"{name}: is a Java migration, which only Flyway can run")
                continue
            try:
                self.file(path, name, path.name[: len(path.name) - len(suffix)])
            except Invalid as error:
                self.problems += error.problems

    def file(self, path: Path, name: str, stem: str) -> None:
        """Read one file. Raises Invalid."""
        event, _, description = stem.partition(self.separator)
        if event in _CALLBACKS:
            self.callbacks[event].append(self._migration(path, name, "", (), description, event))
        elif _OTHER_CALLBACKS.fullmatch(event):
            raise Invalid(f"{name}: Mooring runs the callbacks {', '.join(_CALLBACKS)}, and not {event}")
        elif stem.startswith(self.repeatable + self.separator):
            raw = stem.removeprefix(self.repeatable + self.separator)
            self.migrations.append(self._migration(path, name, f"R {raw.replace('_', ' ')}", (), raw, "SQL"))
        elif stem.startswith((self.prefix, self.baseline)):
            kind, prefix = ("SQL", self.prefix) if stem.startswith(self.prefix) else ("SQL_BASELINE", self.baseline)
            version, _, raw = stem.removeprefix(prefix).partition(self.separator)
            if not _VERSION.fullmatch(version):
                raise Invalid(self._stray(name))
            if not self.target or order(version) <= self.target:
                key = "B" * (kind == "SQL_BASELINE") + canonical(version)
                self.migrations.append(self._migration(path, name, key, order(version), raw, kind, version))
        elif re.match(rf"U\d[\d._]*{re.escape(self.separator)}", stem):
            raise Invalid(f"{name}: is an undo migration, which only Flyway's paid editions run; set MOORING_IGNORE=U*")
        else:
            raise Invalid(self._stray(name))

    def _stray(self, name: str) -> str:
        example = f"{self.prefix}1{self.separator}description{self.suffixes[0]}"
        return f"{name}: Flyway would pass over it; name it as {example} is, or set MOORING_IGNORE={name}"

    def _migration(  # noqa: PLR0913, PLR0917 - all that a file's name says, and where it is
        self, path: Path, name: str, key: str, place: Order, raw: str, kind: str, version: str = ""
    ) -> FlywayMigration:
        configuration = _configuration(path, name)
        source = source_of(path, name, configuration.get("encoding", self.encoding))

        def parse(migration: Migration) -> Script:
            return self._parse(migration.source, configuration, each=kind not in _CALLBACKS)

        description, display = raw.replace("_", " "), version.replace("_", ".")
        return FlywayMigration(key, place, source, parse, display, description, kind, self.replace)

    def _parse(self, source: Source, configuration: Mapping[str, str], *, each: bool) -> Script:
        """What a file runs, with the callbacks around it if it is a migration. Raises Invalid."""
        own = self._statements(source, configuration)
        alone = [statement for statement in own if stands_alone(statement)]
        if "executeInTransaction" in configuration:
            transactional = configuration["executeInTransaction"] == "true"
        else:
            transactional = not alone
            if alone and len(alone) < len(own) and not self.mixed:
                raise Invalid(
                    f"{alone[0].place}: this statement cannot run in a transaction, and others of the file can: move it to a"
                    f" file of its own, or write executeInTransaction=false into {source.name}.conf"
                )
        if each:
            before = [s for one in self.callbacks["beforeEachMigrate"] for s in one.script.statements]
            after = [s for one in self.callbacks["afterEachMigrate"] for s in one.script.statements]
            own = [*before, *own, *after]
        return script_of([(statement,) for statement in own], transactional=transactional)

    def _statements(self, source: Source, configuration: Mapping[str, str]) -> list[Statement]:
        own = configuration.get("placeholderReplacement")
        return statements(source, text=self.replace(source, on=None if own is None else own == "true"), copy=True)


def read(folders: Iterable[Path], options: Options) -> Found:
    """Everything in the folders and those below them, and what is wrong with it."""
    try:
        reader = _Reader(options)
    except Invalid as error:
        return Found((), (), (), error.problems)
    for folder in folders:
        reader.folder(folder)
    for events in reader.callbacks.values():
        events.sort(key=lambda one: (bool(one.description), one.description))
    return Found(
        reader.migrations, reader.callbacks["beforeMigrate"], reader.callbacks["afterMigrate"], reader.problems
    )


def _target(text: str) -> tuple[int, ...]:
    """The newest version to run; () for no limit. Raises Invalid."""
    if text == "latest":
        return ()
    if not _VERSION.fullmatch(text):
        raise Invalid(f"MOORING_TARGET: {text!r}: is not a version; Flyway's other words for one need Flyway")
    return order(text)


def _configuration(path: Path, name: str) -> Mapping[str, str]:
    """A file's own script configuration (SqlScriptMetadata), from the file beside it. Raises Invalid."""
    beside = path.with_name(f"{path.name}.conf")
    if not beside.is_file():
        return {}
    values, problems = {}, []
    for number, line in enumerate(source_of(beside, f"{name}.conf").text.splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not key or key.startswith("#"):
            continue
        if key == "shouldExecute":
            problems.append(f"{name}.conf:{number}:1: shouldExecute is for Flyway's paid editions")
        elif key not in _CONFIGURATION or not equals:
            problems.append(f"{name}.conf:{number}:1: Flyway knows no {key!r} here, only {', '.join(_CONFIGURATION)}")
        elif key != "encoding" and value not in {"true", "false"}:
            problems.append(f"{name}.conf:{number}:1: {key} is true or false, not {value!r}")
        values[key] = value
    if problems:
        raise Invalid(*problems)
    return values
