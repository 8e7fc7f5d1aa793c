"""Runners as processes of their own: forked from one that has imported everything, so that hundreds can start at once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from mooring import cli
from tests.faults.sabotage import SABOTAGE


HANGS = 98
"""What a runner is said to end with that had to be killed."""
_PROCESSES = multiprocessing.get_context("forkserver")
# With pytest, because each process imports what the main program did.
_PROCESSES.set_forkserver_preload(["tests.faults.runners", "mooring.formats.alembic_run", "pytest"])


@dataclass(frozen=True)
class Runners:
    """Starts `mooring up` for folders of migrations; the logs go to files in a folder."""

    logs: Path
    sabotage: str = ""
    """What to break in Mooring beforehand."""
    gate: Path | None = None
    """A FIFO that the runners wait at until somebody opens it to write."""

    def start(self, migrations: Path, url: str, log: str, **settings: str) -> BaseProcess:
        """Start a runner."""
        environment = {
            "SERVICE": "faults",
            "MIGRATIONS": str(migrations),
            "DATABASE_URL": url,
            "LOG_FORMAT": "json",
            "TERMINATION_LOG": str(self.logs / f"{log}.last"),
            "WAIT": "20s",
        } | settings
        mooring = {f"MOORING_{key}": value for key, value in environment.items()}
        process = _PROCESSES.Process(target=_run, args=(mooring, self.logs / f"{log}.log", self.sabotage, self.gate))
        process.start()
        return process

    @staticmethod
    def end(process: BaseProcess, seconds: float = 120) -> int:
        """Wait for a runner's end."""
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            return HANGS
        return process.exitcode

    def log(self, name: str) -> list[str]:
        """What a runner said, as far as it began to."""
        file = self.logs / f"{name}.log"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _run(environment: Mapping[str, str], output: Path, sabotage: str, gate: Path | None) -> None:
    """A runner's process."""
    if gate:
        gate.open(encoding="ascii").close()
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    if sabotage:
        SABOTAGE[sabotage]()
    code = cli.run(["up"])
    sys.stdout.flush()
    os._exit(code)
