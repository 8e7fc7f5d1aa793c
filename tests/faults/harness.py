"""Faults at random points of a run, and what the next run makes of them.

A fault is one run, or several at once, of a format's folder on an empty database, of which one is disturbed: ended by
SIGTERM or SIGKILL, cut off or stalled by a proxy, robbed of its server process, of its server or of its disk. After it a
run without disturbance must end with 0 and leave what an undisturbed one leaves, or end with 31 where nobody can know.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg

from mooring import cli, embedded
from tests.faults.folders import FOLDERS
from tests.faults.proxy import Proxy, Trouble


KINDS = ("term", "kill", "reset", "stall", "terminate", "restart", "fill")
WEIGHTS = (6, 6, 6, 3, 5, 1, 2)
ALLOWED_31 = {"alembic"}
"""An Alembic revision has no statements that Mooring could go on from."""

STATE = """
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT format('%s %s %s', c.relkind, c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, -1), ', '
            ORDER BY a.attnum)) AS line
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ '_ledger' GROUP BY c.oid, c.relkind, c.relname
        UNION ALL SELECT format('index %s valid %s', indexrelid::regclass, indisvalid) FROM pg_index
            WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        UNION ALL SELECT 'label ' || enumlabel FROM pg_enum
        UNION ALL SELECT 'ran ' || name FROM ran
        UNION ALL SELECT 'rows ' || count(*) FROM t2
        UNION ALL SELECT 'ledger ' || version || ' ' || coalesce(done::text, 'complete') FROM ledger
    ) lines"""


@dataclass
class Server:
    """A server that can be restarted."""

    url: str
    folder: Path
    restart: Callable[[], None]
    disk: Path | None
    """A small file system on which the databases' tables are, if there is one."""


@contextmanager
def running(version: int) -> Iterator[Server]:
    """A server for faults, with few connections, and a small disk where the machine allows to mount one."""
    binaries = Path("/usr/lib/postgresql/15/bin") if version == 15 else None
    settings = {"max_connections": "60", "autovacuum": "off", "log_min_messages": "panic"}
    with tempfile.TemporaryDirectory(prefix="mooring-disk-", dir="/tmp") as disk_folder:
        disk = _small_disk(Path(disk_folder))
        try:
            with embedded.server(version, settings, binaries) as url:
                with psycopg.connect(f"{url}/postgres", autocommit=True) as admin:
                    row = admin.execute("SHOW data_directory").fetchone()
                    data = Path(str(row[0]) if row else "")
                    if disk:
                        admin.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'space'}'".encode())
                pg_ctl = (binaries or embedded.binaries_of(version)) / "pg_ctl"

                def restart() -> None:
                    as_user = {"user": data.owner(), "extra_groups": []} if os.geteuid() == 0 else {}
                    command = [pg_ctl, "restart", "-w", "-m", "immediate", "-D", data, "-l", data / "log"]
                    subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user)  # type: ignore[call-overload]

                yield Server(url, data, restart, disk)
        finally:
            if disk:
                subprocess.run(["umount", disk], check=True)


def _small_disk(folder: Path) -> Path | None:
    """A file system of a few megabytes, with a folder for a tablespace; None where this user may not mount one."""
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        return None
    folder.chmod(0o755)
    (folder / "space").mkdir()
    subprocess.run(["chown", "nobody:nogroup", folder / "space"], check=True)
    return folder


@dataclass
class Tally:
    """What became of the faults."""

    tried: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.tried.items()))
        total = sum(self.tried.values())
        recovered = total - self.refused - len(self.lost)
        return f"faults tried {total} ({kinds}), recovered {recovered}, refused with 31 {self.refused}, lost {len(self.lost)}"


class Harness:
    """Faults on one server, from one seed."""

    def __init__(self, server: Server, seed: int, sabotage: str = "") -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.seed = seed
        self.sabotage = sabotage
        self.tally = Tally()
        self.folder = Path(tempfile.mkdtemp(prefix="mooring-faults-", dir="/tmp"))
        for name, files in FOLDERS.items():
            for file, text in files.items():
                path = self.folder / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        self.undisturbed = {name: self._undisturbed(name) for name in FOLDERS}

    def fault(self, number: int, kind: str = "", format_: str = "") -> None:
        """One fault, and the run after it."""
        chance = self.chance
        kind = kind or chance.choices(KINDS, WEIGHTS)[0]
        format_ = format_ or chance.choice(list(FOLDERS))
        seconds, _, expected = self.undisturbed[format_]
        if kind == "fill" and not self.server.disk:
            kind = "terminate"
        name = f"fault{number}"
        self._create(name, small=kind == "fill")
        self.tally.tried[kind] += 1
        what = f"seed {self.seed}, fault {number}: {kind} in {format_}"
        others = [self._start(format_, name, f"other{n}") for n in range(chance.choice([0, 0, 1, 2]))]
        self._disturb(kind, format_, name, seconds)
        codes = [self._end(process) for process in others]
        # A full disk is everybody's, and a lost server too; what an undisturbed runner ends with is its own doing otherwise.
        if kind in {"term", "kill", "reset", "stall"} and any(code not in {0, 31} for code in codes):
            self._lost(what, f"other runners ended with {codes}: {self._logs()}")
            return
        code = self._end(self._start(format_, name, "next", LOCK_WAIT="20s"))
        if code == 31 and format_ in ALLOWED_31:
            self.tally.refused += 1
        elif code != 0:
            self._lost(what, f"the next run ended with {code}: {self._log('next')}")
        elif (state := self._state(name, format_)) != expected:
            differences = set(state.splitlines()) ^ set(expected.splitlines())
            twice = [line for line, count in Counter(state.splitlines()).items() if count > 1]
            self._lost(what, f"the next run left something else: {sorted(differences)} {twice}")
        self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    def _lost(self, what: str, why: str) -> None:
        self.tally.lost.append(f"{what}: {why}")
        print(f"LOST {what}: {why}", flush=True)

    def _undisturbed(self, format_: str) -> tuple[float, int, str]:
        """How long a run takes, how many bytes it moves, and what it leaves."""
        name = f"undisturbed_{format_.replace('-', '_')}"
        self._create(name)
        begun = time.monotonic()
        code = self._end(self._start(format_, name, "undisturbed"))
        assert code == 0, self._log("undisturbed")
        return time.monotonic() - begun, 20_000, self._state(name, format_)

    def _disturb(self, kind: str, format_: str, name: str, seconds: float) -> None:
        """Start a run and do to it what `kind` says, at a random point."""
        chance = self.chance
        if kind in {"reset", "stall"}:
            host, _, port = self.server.url.rpartition("@")[2].partition(":")
            proxy = Proxy(host, int(port), chance)
            proxy.trouble = Trouble(kind, chance.randrange(200, 60_000), chance.uniform(0.05, 0.4))
            self._end(self._start(format_, name, "disturbed", port=proxy.port))
            proxy.close()
            return
        process = self._start(format_, name, "disturbed")
        time.sleep(chance.uniform(0, seconds * 1.1))
        filler = self.server.disk / "filler" if self.server.disk else None
        if kind == "term":
            process.terminate()
        elif kind == "kill":
            process.kill()
        elif kind == "terminate":
            self._admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        elif kind == "restart":
            self.server.restart()
        elif kind == "fill" and filler:
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(65536))
                    file.flush()
        begun = time.monotonic()
        code = self._end(process)
        if kind == "term" and time.monotonic() - begun > 2:
            self._lost(
                f"seed {self.seed}: SIGTERM in {format_}", f"took {time.monotonic() - begun:.1f} s to end with {code}"
            )
        if kind == "fill" and filler:
            filler.unlink(missing_ok=True)

    def _start(self, format_: str, name: str, log: str, port: int = 0, **settings: str) -> BaseProcess:
        """Start a runner: a process like any other, but for what it need not import again."""
        url = f"{self.server.url}/{name}"
        if port:
            url = url.replace(url.rpartition(":")[2].partition("/")[0], str(port))
        environment = {
            "MOORING_SERVICE": "faults",
            "MOORING_FORMAT": format_,
            "MOORING_MIGRATIONS": str(self.folder / format_),
            "MOORING_DATABASE_URL": url,
            "MOORING_LOG_FORMAT": "json",
            "MOORING_TERMINATION_LOG": str(self.folder / "termination"),
            "MOORING_WAIT": "20s",
        } | {f"MOORING_{key}": value for key, value in settings.items()}
        output = self.folder / f"{log}.log"
        process = _PROCESSES.Process(target=_run, args=(environment, str(output), self.sabotage))
        process.start()
        return process

    @staticmethod
    def _end(process: BaseProcess) -> int:
        process.join(120)
        if process.exitcode is None:
            process.kill()
            process.join()
            return HANGS
        return process.exitcode

    def _log(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(encoding="utf-8").splitlines()
        return " | ".join(lines[-2:])[:1500]

    def _logs(self) -> str:
        return " || ".join(self._log(path.stem) for path in self.folder.glob("other*.log"))

    def _create(self, name: str, *, small: bool = False) -> None:
        self._admin(f"CREATE DATABASE {name}" + " TABLESPACE small" * small)

    def _state(self, name: str, format_: str) -> str:
        ledger = f"{format_.replace('-', '_')}_faults_ledger"
        with psycopg.connect(f"{self.server.url}/{name}", autocommit=True) as connection:
            row = connection.execute(STATE.replace("FROM ledger", f"FROM {ledger}").encode()).fetchone()
            return str(row[0]) if row else ""

    def _admin(self, sql: str) -> None:
        """As the superuser, as soon as the server is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(f"{self.server.url}/postgres", autocommit=True) as connection:
                    connection.execute(sql.encode())
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


HANGS = 98
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["mooring.cli", "mooring.formats.alembic_run", "tests.faults.sabotage"])


def _run(environment: Mapping[str, str], output: str, sabotage: str) -> None:
    """A runner's process."""
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    if sabotage:
        from tests.faults.sabotage import SABOTAGE

        SABOTAGE[sabotage]()
    code = cli.run(["up"])
    sys.stdout.flush()
    os._exit(code)
