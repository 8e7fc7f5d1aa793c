"""Flyway's placeholders: the values that take their place in a file, from the environment, the file and the database."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from mooring.formats import Options
from mooring.lexer import Source
from mooring.migration import Invalid


_KNOWN = {"filename", "timestamp", "workingdirectory", "environment", "defaultschema", "user", "database", "table"}


class Replacement:
    """Puts values in place of placeholders, as PlaceholderReplacingReader does: names in any case, unknown ones refused."""

    def __init__(self, options: Options) -> None:
        tool = options.tool
        self._database = options.known
        self._on = tool.get("PLACEHOLDER_REPLACEMENT", "true") == "true"
        self._separator = tool.get("PLACEHOLDER_SEPARATOR", ":")
        prefix, suffix = tool.get("PLACEHOLDER_PREFIX", "${"), tool.get("PLACEHOLDER_SUFFIX", "}")
        self._pattern = re.compile(f"{re.escape(prefix)}(.*?){re.escape(suffix)}", re.DOTALL)
        start = "FLYWAY_PLACEHOLDERS_"
        self._values = {n.removeprefix(start).lower(): value for n, value in os.environ.items() if n.startswith(start)}

    def __call__(self, source: Source, *, on: bool | None = None) -> str:
        """A file's text with its placeholders replaced; `on` is its own configuration. Raises Invalid."""
        text = source.text.removeprefix("\ufeff")
        if not (self._on if on is None else on):
            return text
        problems = []

        def value(found: re.Match[str]) -> str:
            name = found[1].lower()
            if name in self._values:
                return self._values[name]
            own, _, known = name.partition(self._separator)
            if own == "flyway" and known in _KNOWN:
                return self._known(known, source)
            line = text.count("\n", 0, found.start()) + 1
            column = found.start() - text.rfind("\n", 0, found.start())
            problems.append(
                f"{source.name}:{line}:{column}: no value for {found[0]}: set FLYWAY_PLACEHOLDERS_{found[1].upper()}"
            )
            return ""

        replaced = self._pattern.sub(value, text)
        if problems:
            raise Invalid(*problems)
        return replaced

    def _known(self, name: str, source: Source) -> str:
        """The value of one of Flyway's own placeholders."""
        if name == "filename":
            return Path(source.name).name
        if name == "timestamp":
            return datetime.now().strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ005 - Flyway has the local time too
        if name == "workingdirectory":
            return str(Path.cwd())
        if name == "environment":
            return "default"
        facts = self._database["facts"]
        return {
            "defaultschema": str(facts.table.schema),
            "user": facts.user,
            "database": facts.database,
            "table": facts.table.name,
        }[name]
