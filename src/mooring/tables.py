"""The tables that SQL makes, read from its text: the evidence for a version table that another tool has written."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mooring.lexer import Statement
from mooring.names import TableName


_GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)+"
_IDENT = r'"(?:[^"]|"")+"|[A-Za-z_\u0080-\U0010ffff][\w$]*'
_NAME = rf"(?:(?:{_IDENT})\s*\.\s*)?(?:{_IDENT})"
_PARTS = re.compile(_IDENT)


def _pattern(words: str) -> re.Pattern[str]:
    """A statement's beginning, in which <table>, <tables> and <new> stand for names."""
    pattern = words.replace(" ", _GAP)
    pattern = pattern.replace("<tables>", rf"(?P<names>{_NAME}(?:\s*,\s*{_NAME})*)")
    pattern = pattern.replace("<table>", rf"(?P<name>{_NAME})(?![\w$\"])").replace("<new>", rf"(?P<new>{_IDENT})")
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


_ALTER = "ALTER (?:FOREIGN )?TABLE (?:IF EXISTS )?(?:ONLY )?"
_CREATE = _pattern("CREATE (?:(?:UNLOGGED|FOREIGN) )?TABLE (?:IF NOT EXISTS )?<table>(?! PARTITION OF )")
_DROP = _pattern("DROP (?:FOREIGN )?TABLE (?:IF EXISTS )?<tables>")
_RENAME = _pattern(_ALTER + "<table> RENAME TO <new>")
_MOVE = _pattern(_ALTER + "<table> SET SCHEMA <new>")
_ATTACH = _pattern(_ALTER + f"(?:{_NAME}) ATTACH PARTITION <table>")
_DROP_SCHEMA = _pattern("DROP SCHEMA (?:IF EXISTS )?<tables>")


def left_behind(statements: Iterable[Statement]) -> set[TableName]:
    """The tables that are there after these statements, as far as their text tells: none of them partitions."""
    tables: set[TableName] = set()
    for statement in statements:
        text = statement.text
        if found := _CREATE.match(text):
            tables.add(_name(found["name"]))
        elif found := _DROP.match(text):
            tables -= {_name(name) for name in re.findall(_NAME, found["names"])}
        elif found := _RENAME.match(text):
            old = _name(found["name"])
            tables = (tables - {old}) | ({TableName(old.schema, _part(found["new"]))} if old in tables else set())
        elif found := _MOVE.match(text):
            old = _name(found["name"])
            tables = (tables - {old}) | ({TableName(_part(found["new"]), old.name)} if old in tables else set())
        elif found := _ATTACH.match(text):
            tables.discard(_name(found["name"]))
        elif found := _DROP_SCHEMA.match(text):
            schemas = {_part(schema) for schema in re.findall(_IDENT, found["names"])}
            tables = {table for table in tables if table.schema not in schemas}
    return tables


def _name(text: str) -> TableName:
    parts = [_part(part) for part in _PARTS.findall(text)]
    return TableName(parts[0] if len(parts) > 1 else None, parts[-1])


def _part(text: str) -> str:
    """An identifier as the catalog has it: folded to lower case, unless quoted."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()
