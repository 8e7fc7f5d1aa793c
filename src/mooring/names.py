"""Names of tables: how settings spell them, and how SQL must."""

from __future__ import annotations

import re
from typing import NamedTuple


LONGEST = 63
"""Bytes that PostgreSQL keeps of a name (NAMEDATALEN - 1); it drops the rest without a word."""

_PART = r'"(?:[^"]|"")+"|[^".]+'
_NAME = rf"(?:({_PART})\.)?({_PART})"


class TableName(NamedTuple):
    """A table's name, exactly as the catalog has it; `schema` is None where the search path decides."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        """For people: without the schema where that is `public`."""
        return self.name if self.schema in (None, "public") else f"{self.schema}.{self.name}"

    @property
    def setting(self) -> str:
        """The name as a setting spells it, with its schema."""
        parts = [
            part if part and not set(part) & {".", '"'} else quote(part) for part in (self.schema, self.name) if part
        ]
        return ".".join(parts)

    @property
    def sql(self) -> str:
        """The name for SQL, each part quoted."""
        return f"{quote(self.schema)}.{quote(self.name)}" if self.schema else quote(self.name)


def quote(identifier: str) -> str:
    """An identifier for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string for SQL, whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in text else quoted


def parse(text: str) -> TableName:
    """Read `name` or `schema.name`, taken as written, upper case too; double quotes protect dots and quotes.

    Raises ValueError with what is wrong.
    """
    found = re.fullmatch(_NAME, text)
    if not found:
        raise ValueError("is not a table name: write name or schema.name, with double quotes around a part with dots")
    if "\0" in text:
        raise ValueError("has a NUL character")
    parts = [part and (part[1:-1].replace('""', '"') if part[0] == '"' else part) for part in found.groups()]
    for part in parts:
        if part and len(part.encode()) > LONGEST:
            raise ValueError(
                f"is too long: PostgreSQL keeps {LONGEST} bytes of a name, and {part!r} has {len(part.encode())}"
            )
    return TableName(parts[0], parts[1])
