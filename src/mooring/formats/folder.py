"""What reading a folder has in common, whichever tool it is for."""

from __future__ import annotations

import os
from pathlib import Path

from mooring.errors import MigrationsInvalid


def files(folder: Path) -> list[os.DirEntry[str]]:
    """The folder's entries by name, but for those that begin with two dots: a ConfigMap volume's own bookkeeping.

    Raises MigrationsInvalid where there is no such folder, or it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith("..")), key=lambda entry: entry.name)
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


def text_of(path: Path) -> str:
    """A migration's text. Raises ValueError with what keeps it from being one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name}: {(error.strerror or str(error)).lower()}") from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ValueError(
            f"{path.name}:{line}:{column}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error
    if (nul := text.find("\0")) >= 0:
        raise ValueError(f"{path.name}:{text.count(chr(10), 0, nul) + 1}: has a NUL character")
    return text
