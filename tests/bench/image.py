"""The image's own files, among which Mooring is measured as a pod runs it, but for what starting a container takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.tools import IMPORTS, OURS, Command, Place, Tool
from tests.image.docker import exported


IMAGE = "mooring:latest"


@contextmanager
def unpacked() -> Iterator[Path | None]:
    """Where the image's files are; None where there is no image, or where this user may not change the root."""
    if (
        os.geteuid()
        or not shutil.which("docker")
        or subprocess.run(("docker", "inspect", IMAGE), capture_output=True, check=False).returncode
    ):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mooring-image-") as root, exported(IMAGE) as files:
        files.extractall(root, filter="fully_trusted")
        yield Path(root)


def mooring(root: Path) -> Tool:
    """Mooring as the image has it; its folders have to be below the image's root."""
    inside: Command = ["chroot", root, "/usr/local/bin/mooring", "up"]

    def command(folder: Path, place: Place) -> tuple[Command, dict[str, str]]:
        seen = Path("/", folder.relative_to(root)) if folder.is_absolute() else folder
        return inside, {**OURS.command(folder, place)[1], "MOORING_MIGRATIONS": str(seen)}

    return Tool("Mooring in its image", OURS.files, command)


def imports(root: Path) -> Command:
    """The bare imports there."""
    return ["chroot", root, "/usr/bin/python3", "-I", "-c", IMPORTS]
