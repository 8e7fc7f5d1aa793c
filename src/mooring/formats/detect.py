"""Whose migrations are these? Each tool's files have names, or lines, that no other tool's have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mooring.errors import MigrationsInvalid
from mooring.formats import TOOLS, Format, Options, tool
from mooring.formats.folder import content, files


_NAMES = {
    "golang-migrate": re.compile(r"[0-9]+_.*\.(?:down|up)\..*", re.DOTALL),
    "flyway": re.compile(r"(?:.*/)?(?:V\d[\d._]*(?:__.*)?|R__.*)\.sql", re.IGNORECASE | re.DOTALL),
    "alembic": re.compile(r"alembic\.ini|env\.py"),
}
_LINES = {
    "goose": (re.compile(r"[^/]*\.sql"), re.compile(rb"\+goose")),
    "dbmate": (re.compile(r"[^/]*\.sql"), re.compile(rb"^--\s*migrate:up", re.MULTILINE)),
    "alembic": (re.compile(r"(?:versions/)?[^/]*\.py"), re.compile(rb"^down_revision\b", re.MULTILINE)),
}


def detect(options: Options) -> Format:
    """The tool that the folders look like. Raises MigrationsInvalid unless it is one."""
    found = {name for folder in options.folders for name in _signs(folder, options.ignore)}
    fitting = [name for name in TOOLS if name in found]
    where = ", ".join(map(str, options.folders))
    if not fitting:
        raise MigrationsInvalid(
            f"{where}: no migrations that Mooring knows",
            hint=f"Set MOORING_FORMAT to {', '.join(TOOLS)} to hear what is wrong with the files.",
        )
    if len(fitting) > 1:
        raise MigrationsInvalid(
            f"{where}: looks like migrations of {' and of '.join(fitting)}",
            hint=f"Set MOORING_FORMAT={fitting[0]} or MOORING_FORMAT={fitting[1]}, and move away what is not part of them.",
        )
    return tool(fitting[0])


def _signs(folder: Path, ignore: Sequence[str]) -> Iterator[str]:
    """The tools of which a folder's files show a sign."""
    for path, name in files(folder, ignore, recursive=True):
        yield from (one for one, names in _NAMES.items() if names.fullmatch(name))
        if readers := [(one, line) for one, (names, line) in _LINES.items() if names.fullmatch(name)]:
            try:
                data = content(path)
            except OSError:
                continue  # what is wrong with it is for the tool that reads it
            yield from (one for one, line in readers if line.search(data))
