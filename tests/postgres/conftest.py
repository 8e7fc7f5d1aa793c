"""Real PostgreSQL servers from a wheel, a database for each test, and Mooring run in it as an init container would."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mooring import cli, embedded
from tests.support import eventually


Rows = list[tuple[Any, ...]]


@dataclass
class Database:
    """A database of its own."""

    url: str

    def sql(self, sql: str) -> Rows:
        """Run SQL as the superuser; the rows of the last statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def tables(self) -> set[str]:
        """The tables of the public schema, without Mooring's own."""
        rows = self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows if "_ingestion" not in name and not name.startswith("goose_")}

    def wait_for(self, condition: str, seconds: float = 10) -> None:
        """Wait until a query gives true."""
        eventually(lambda: self.sql(f"SELECT {condition}")[0][0] or None, lambda: condition, seconds, pause=0.05)


@dataclass
class Outcome:
    """How a run of Mooring ended."""

    code: int
    events: list[dict[str, Any]]
    last_word: str
    output: str = field(repr=False)

    def event(self, name: str) -> dict[str, Any]:
        """The only event of this name."""
        [event] = [event for event in self.events if event["event"] == name]
        return event

    @property
    def problems(self) -> list[str]:
        """What the run ended with."""
        return list(self.event("failed")["problems"])


@dataclass
class Service:
    """A service with a folder of migrations, and the database that it is pointed at."""

    name: str
    folder: Path
    database: Database
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def write(self, **files: str) -> None:
        """Write migrations; the keys are their names without `.sql`, and begin with an underscore."""
        self.folder.mkdir(exist_ok=True)
        for name, up in files.items():
            text = up if "+goose" in up else f"-- +goose Up\n{up}\n"
            (self.folder / f"{name.removeprefix('_')}.sql").write_text(text, encoding="utf-8")

    def put(self, name: str, text: str) -> None:
        """Write a file as it is."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    @property
    def termination_log(self) -> Path:
        """Where the last word goes."""
        return self.folder.parent / f"{self.name}-termination-log"

    def environment(self, **settings: str) -> dict[str, str]:
        """The settings that a pod would have."""
        defaults = {
            "SERVICE": self.name,
            "MIGRATIONS": str(self.folder),
            "DATABASE_URL": self.database.url,
            "TERMINATION_LOG": str(self.termination_log),
            "WAIT": "10s",
        }
        return {f"MOORING_{name}": value for name, value in (defaults | settings).items() if value}

    def mooring(self, command: str = "up", **settings: str) -> Outcome:
        """Run a command in this process."""
        with self.monkeypatch.context() as patch:
            for name, value in self.environment(**settings).items():
                patch.setenv(name, value)
            self.capsys.readouterr()
            code = cli.run([command])
        return self.outcome(code, self.capsys.readouterr().out)

    def start(self, command: str = "up", **settings: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "mooring", command],
            env=os.environ | self.environment(**settings),
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str]) -> Outcome:
        """Wait for a started command to end."""
        output, _ = process.communicate(timeout=300)
        return self.outcome(process.returncode, output)

    def outcome(self, code: int, output: str) -> Outcome:
        """What a run's exit code and output mean."""
        events = []
        with suppress(json.JSONDecodeError):
            events = [json.loads(line) for line in output.splitlines()]
        last_word = self.termination_log.read_text(encoding="utf-8") if self.termination_log.exists() else ""
        return Outcome(code, events, last_word, output)


def first_lines(running: subprocess.Popen[str], count: int) -> list[str]:
    """The first lines of a started command's log, as soon as they are there."""
    assert running.stdout is not None
    return [running.stdout.readline() for _ in range(count)]


@pytest.fixture(scope="session", params=[16, 18], ids="postgres-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server's URL without a database."""
    with embedded.server(request.param) as url:
        yield url


_numbers = itertools.count(1)
MakeDatabase = Callable[[], Database]


@pytest.fixture
def make_database(server: str) -> MakeDatabase:
    """Make an empty database."""

    def make() -> Database:
        name = f"test{next(_numbers)}"
        Database(f"{server}/postgres").sql(f"CREATE DATABASE {name}")
        return Database(f"{server}/{name}")

    return make


@pytest.fixture
def database(make_database: MakeDatabase) -> Database:
    """The database of a test that needs one."""
    return make_database()


MakeService = Callable[..., Service]


@pytest.fixture
def make_service(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> MakeService:
    """Make a service with files, in this test's database."""

    def make(name: str = "ingestion", **files: str) -> Service:
        service = Service(name, tmp_path / name, database, monkeypatch, capsys)
        service.write(**files)
        return service

    return make


@pytest.fixture
def ingestion(make_service: MakeService) -> Service:
    """The service of most tests: two files, a table each."""
    return make_service(
        "ingestion",
        _00001_create_sources="CREATE TABLE sources (id int PRIMARY KEY);",
        _00002_create_readings="CREATE TABLE readings (source int REFERENCES sources);",
    )


@pytest.fixture
def eventhandler(make_service: MakeService) -> Service:
    """The other service, with the same numbers."""
    return make_service(
        "eventhandler",
        _00001_create_events="CREATE TABLE events (id int PRIMARY KEY);",
        _00002_create_handlers="CREATE TABLE handlers (event int REFERENCES events);",
    )
