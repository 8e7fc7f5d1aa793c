"""What reading a folder has in common, whichever tool it is for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from mooring.errors import MigrationsInvalid
from mooring.lexer import Source, Statement, UnfinishedError, split
from mooring.migration import Invalid


def files(folder: Path, ignore: Sequence[str] = (), *, recursive: bool = False) -> Iterator[tuple[Path, str]]:
    """Each file of a folder, or of the folders below it too, by name and with its name below the folder.

    Without those that are to be left alone, and without what begins with two dots: a ConfigMap volume's own bookkeeping.
    Raises MigrationsInvalid where there is no such folder, or it cannot be read.
    """
    for entry in _entries(folder, ignore):
        if not entry.is_dir():
            yield Path(entry.path), entry.name
        elif recursive:
            for path, name in files(Path(entry.path), recursive=True):
                if not _matches(f"{entry.name}/{name}", ignore):
                    yield path, f"{entry.name}/{name}"


def strays(folder: Path, ignore: Sequence[str], tool: str) -> list[str]:
    """The sub-folders, for tools that read none: there may be migrations in them, which they would pass over."""
    return [
        f"{entry.name}/: {tool} reads no sub-folders; move its files up, or set MOORING_IGNORE={entry.name}"
        for entry in _entries(folder, ignore)
        if entry.is_dir() and any(Path(entry.path).rglob("*.[sS][qQ][lL]"))
    ]


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch(name, glob) for glob in globs)


def _entries(folder: Path, ignore: Sequence[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry for entry in entries if not (entry.name.startswith("..") or _matches(entry.name, ignore))),
                key=lambda entry: entry.name,
            )
    except FileNotFoundError:
        problem = f"{folder}: no such folder"
        hint = f"Copy the migrations into the image (COPY migrations {folder}) or point MOORING_MIGRATIONS at them."
    except NotADirectoryError:
        problem = f"{folder}: is a file, not a folder"
        hint = f"Point MOORING_MIGRATIONS at the folder: {folder.parent}"
    except OSError as error:
        problem = f"{folder}: {(error.strerror or str(error)).lower()}"
        hint = f"Let user {os.getuid()} read the folder: COPY --chmod=a+rX migrations {folder}"
    raise MigrationsInvalid(problem, hint=hint)


@cache
def content(path: Path) -> bytes:
    """A file's content, kept until `formats.read` is done: whose a folder is may be found out by looking into its files."""
    return path.read_bytes()


def source_of(path: Path, name: str, encoding: str = "utf-8") -> Source:
    """A migration's text. Raises Invalid with what keeps it from being one."""
    try:
        data = content(path)
    except OSError as error:
        raise Invalid(f"{name}: {(error.strerror or str(error)).lower()}") from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise Invalid(
            f"{name}:{line}:{column}: byte 0x{data[error.start]:02x} is not {encoding.upper()}; save the file as UTF-8"
        ) from error
    if (nul := text.find("\0")) >= 0:
        raise Invalid(f"{name}:{text.count(chr(10), 0, nul) + 1}: has a NUL character")
    return Source(name, text)


def statements(
    source: Source, start: int = 0, end: int | None = None, *, text: str | None = None, copy: bool = False
) -> list[Statement]:
    """All statements of a part of a file, the last with or without a semicolon. Raises Invalid.

    `text` is what runs, where that is not the file's own text; `copy` says whether data can follow a COPY FROM STDIN.
    """
    try:
        found, rest = split(source.text if text is None else text, start, end, source, copy=copy)
    except UnfinishedError as error:
        raise Invalid(f"{source.name}:{error.line}:{error.column}: {error}") from None
    return [*found, rest] if rest else found
