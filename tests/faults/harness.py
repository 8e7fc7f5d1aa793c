"""Faults at random points of a run, and what the next run makes of them.

A fault is one run, or several at once, of a format's folder on an empty database, of which one is disturbed: ended by
SIGTERM or SIGKILL, cut off or stalled by a proxy, robbed of its server process, of its server, of its PgBouncer or of its
disk. Every third goes through PgBouncer. After it a run without disturbance must end with 0 within 15 s and leave what an
undisturbed one leaves, or end with 31 where nobody can know.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psycopg

from mooring import embedded
from tests.faults.folders import FOLDERS
from tests.faults.pgbouncer import PgBouncer, pgbouncer
from tests.faults.proxy import Proxy, Trouble
from tests.faults.runners import Runners
from tests.support import binaries_of


KINDS = ("term", "kill", "reset", "stall", "terminate", "restart", "fill", "pooler")
WEIGHTS = (6, 6, 6, 3, 5, 2, 2, 2)
LONGEST = 15
"""Seconds for which what a fault leaves behind may be in the next run's way."""
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
    pooler: PgBouncer
    disk: Path | None
    """A small file system on which the databases' tables are, if there is one."""


@contextmanager
def running(version: int) -> Iterator[Server]:
    """A server for faults, with few connections, and a small disk where the machine allows to mount one."""
    binaries = binaries_of(version)
    settings = {"max_connections": "60", "autovacuum": "off", "log_min_messages": "panic"}
    with tempfile.TemporaryDirectory(prefix="mooring-disk-", dir="/tmp") as disk_folder:
        disk = _small_disk(Path(disk_folder))
        try:
            with embedded.server(version, settings, binaries) as url, pgbouncer(url) as pooler:
                with psycopg.connect(f"{url}/postgres", autocommit=True) as admin:
                    row = admin.execute("SHOW data_directory").fetchone()
                    data = Path(str(row[0]) if row else "")
                    if disk:
                        admin.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'space'}'".encode())

                def restart() -> None:
                    pg_ctl(binaries, data, "restart", "-m", "immediate")

                yield Server(url, data, restart, pooler, disk)
        finally:
            if disk:
                subprocess.run(["umount", disk], check=True)


def pg_ctl(binaries: Path, data: Path, action: str, *options: str) -> None:
    """Start, stop, restart or promote a server, as the user whose it is."""
    as_user: dict[str, Any] = {"user": data.owner(), "extra_groups": []} if os.geteuid() == 0 else {}
    log = ["-l", data / "log"] if action in {"start", "restart"} else []
    command = list(map(str, [binaries / "pg_ctl", action, "-w", "-D", data, *log, *options]))
    subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user)


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

    kinds: Counter[str] = field(default_factory=Counter)
    where: Counter[str] = field(default_factory=Counter)
    """The formats, and how many went through PgBouncer."""
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the longest run after a fault."""

    def __str__(self) -> str:
        tried = self.kinds.total()
        recovered = tried - self.refused - len(self.lost)
        counts = (f"{name} {count}" for counter in (self.kinds, self.where) for name, count in sorted(counter.items()))
        return (
            f"faults tried {tried}, recovered {recovered}, refused with 31 {self.refused}, lost {len(self.lost)}"
            f" ({', '.join(counts)}; slowest run after a fault {self.slowest:.1f} s)"
        )


@dataclass
class Undisturbed:
    """What a run without a fault is like."""

    seconds: float
    bytes: int
    """How many it sends and gets."""
    state: str
    """What it leaves."""


class Harness:
    """Faults on one server, from one seed."""

    def __init__(self, server: Server, seed: int, folder: Path, sabotage: str = "") -> None:
        self.server = server
        self.port = int(server.url.rpartition(":")[2])
        self.chance = random.Random(seed)
        self.seed = seed
        self.tally = Tally()
        self.folder = folder
        self.runners = Runners(self.folder, sabotage)
        for name, files in FOLDERS.items():
            for file, text in files.items():
                path = self.folder / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        for _ in range(2):  # the first run is slower: it starts the server of processes
            self.undisturbed = {name: self._undisturbed(name) for name in FOLDERS}

    def fault(self, number: int, kind: str = "", format_: str = "") -> None:
        """One fault, and the run after it."""
        chance = self.chance
        kind = kind or chance.choices(KINDS, WEIGHTS)[0]
        format_ = format_ or chance.choice(list(FOLDERS))
        pooled = kind == "pooler" or chance.random() < 1 / 3
        if kind == "fill" and not self.server.disk:
            kind = "terminate"
        name = f"fault{number}"
        self._create(name, small=kind == "fill")
        self.tally.kinds[kind] += 1
        self.tally.where.update([format_, "PgBouncer"] if pooled else [format_])
        what = f"seed {self.seed}, fault {number}: {kind} in {format_}{' through PgBouncer' * pooled}"
        others = [self._start(format_, name, f"other{n}") for n in range(chance.choice([0, 0, 1, 2]))]
        self._disturb(kind, format_, name, self.server.pooler.port if pooled else self.port)
        codes = [self.runners.end(process) for process in others]
        # A full disk is everybody's, and a lost server too; what an undisturbed runner ends with is its own doing otherwise.
        if kind in {"term", "kill", "reset", "stall", "pooler"} and any(code not in {0, 31} for code in codes):
            self._lost(what, f"other runners ended with {codes}: {self._logs()}")
        else:
            self._next(what, format_, name)
        self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    def _next(self, what: str, format_: str, name: str) -> None:
        """The run after a fault, and what it must leave."""
        expected = self.undisturbed[format_].state
        begun = time.monotonic()
        code = self.runners.end(self._start(format_, name, "next", LOCK_WAIT="20s"))
        seconds = time.monotonic() - begun
        self.tally.slowest = max(self.tally.slowest, seconds)
        if code == 31 and format_ in ALLOWED_31:
            self.tally.refused += 1
        elif code != 0:
            self._lost(what, f"the next run ended with {code}: {self._log('next')}")
        elif (state := self._state(name, format_)) != expected:
            differences = set(state.splitlines()) ^ set(expected.splitlines())
            twice = [line for line, count in Counter(state.splitlines()).items() if count > 1]
            self._lost(what, f"the next run left something else: {sorted(differences)} {twice}")
        elif seconds > LONGEST:
            self._lost(what, f"the next run took {seconds:.1f} s")

    def _lost(self, what: str, why: str) -> None:
        self.tally.lost.append(f"{what}: {why}")
        print(f"LOST {what}: {why}", flush=True)

    def _undisturbed(self, format_: str) -> Undisturbed:
        """A run without a fault, through a proxy that counts."""
        name = f"undisturbed_{format_.replace('-', '_')}"
        self._create(name)
        with self._proxy(self.port) as proxy:
            begun = time.monotonic()
            code = self.runners.end(self._start(format_, name, "undisturbed", port=proxy.port))
            seconds = time.monotonic() - begun
        assert code == 0, self._log("undisturbed")
        state = self._state(name, format_)
        self._admin(f"DROP DATABASE {name} WITH (FORCE)")
        return Undisturbed(seconds, proxy.carried, state)

    def _proxy(self, port: int) -> AbstractContextManager[Proxy]:
        return closing(Proxy("127.0.0.1", port))

    def _disturb(self, kind: str, format_: str, name: str, port: int) -> None:
        """Start a run, by way of a port, and do to it what `kind` says, at a random point."""
        chance, undisturbed = self.chance, self.undisturbed[format_]
        if kind in {"reset", "stall"}:
            with self._proxy(port) as proxy:
                after = chance.randrange(200, round(undisturbed.bytes * 1.05))
                proxy.trouble = Trouble(kind, after, chance.uniform(0.05, 0.4))
                self.runners.end(self._start(format_, name, "disturbed", port=proxy.port))
            return
        process = self._start(format_, name, "disturbed", port=port)
        time.sleep(chance.uniform(0, undisturbed.seconds * 1.1))
        filler = self.server.disk / "filler" if self.server.disk else None
        if kind == "term":
            process.terminate()
        elif kind == "kill":
            process.kill()
        elif kind == "terminate":
            self._admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        elif kind == "restart":
            self.server.restart()
        elif kind == "pooler":
            self.server.pooler.kill()
            self.server.pooler.start()
        elif kind == "fill" and filler:
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(65536))
                    file.flush()
        begun = time.monotonic()
        code = self.runners.end(process)
        seconds = time.monotonic() - begun
        if kind == "term" and (seconds > 2 or code not in {0, 143, -signal.SIGTERM}):  # the last before it could listen
            self._lost(f"seed {self.seed}: SIGTERM in {format_}", f"took {seconds:.1f} s to end with {code}")
        if kind == "fill" and filler:
            filler.unlink(missing_ok=True)

    def _start(self, format_: str, name: str, log: str, port: int = 0, **settings: str) -> BaseProcess:
        """Start a runner of a format's folder on a database, by way of a port."""
        url = f"postgresql://postgres@127.0.0.1:{port or self.port}/{name}"
        return self.runners.start(self.folder / format_, url, log, FORMAT=format_, **settings)

    def _log(self, name: str) -> str:
        return " | ".join(self.runners.log(name)[-2:])[:1500]

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


def lane(version: int, seed: int, count: int, sabotage: str = "", kinds: tuple[str, ...] = ()) -> Tally:
    """Faults one after the other on a server of their own; where Mooring is sabotaged, up to the first that is noticed."""
    with running(version) as server, tempfile.TemporaryDirectory(prefix="mooring-faults-", dir="/tmp") as folder:
        harness = Harness(server, seed, Path(folder), sabotage)
        for number in range(1, count + 1):
            harness.fault(number, kinds[number % len(kinds)] if kinds else "")
            if sabotage and harness.tally.lost:
                break
        return harness.tally
