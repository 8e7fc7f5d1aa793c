"""Many pods that start at once: two hundred on a server that has room for sixty, and ten beside an index that is built."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.faults.runners import Runners
from tests.postgres.conftest import Database, MakeDatabase
from tests.support import eventually


HERD = 200
FILES = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty files, each of which says that it ran."""
    folder = tmp_path / "herd"
    folder.mkdir()
    for number in range(1, FILES + 1):
        table = "CREATE TABLE ran (file int);\n" * (number == 1)
        text = f"-- +goose Up\n{table}CREATE TABLE t{number} ();\nINSERT INTO ran VALUES ({number});\n"
        (folder / f"{number:05}_file.sql").write_text(text, encoding="utf-8")
    return folder


def herd(logs: Path, folder: Path, database: Database) -> tuple[Counter[int], int, float]:
    """Let all of them go at once: how they ended, how many files they ran, and in how many seconds."""
    gate = logs / "gate"
    os.mkfifo(gate)
    runners = Runners(logs, gate=gate)
    names = [f"runner{number}" for number in range(HERD)]
    processes = [runners.start(folder, database.url, name, WAIT="60s") for name in names]
    with gate.open("w", encoding="ascii"):
        begun = time.monotonic()
        codes = Counter(runners.end(process) for process in processes)
        seconds = time.monotonic() - begun
    gate.unlink()
    return codes, applied(runners, names), seconds


def applied(runners: Runners, names: Sequence[str]) -> int:
    """How many files the runners say to have applied, taken together."""
    events = (json.loads(line) for name in names for line in runners.log(name))
    return sum(event["applied"] for event in events if event["event"] == "done")


def test_two_hundred_runners_at_once(
    folder: Path, tmp_path: Path, make_database: MakeDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an empty database, and then with nothing to do: none fails, and each file runs once."""
    database = make_database()
    [(most,)] = database.sql("SHOW max_connections")
    assert most == "60"
    for pending in (FILES, 0):
        codes, ran, seconds = herd(tmp_path, folder, database)
        with capsys.disabled():
            print(f"\nherd of {HERD}: {pending} files, {seconds:.1f} s, ended with {dict(codes)}")
        assert codes == {0: HERD}
        assert ran == pending
    assert database.sql("SELECT file FROM ran ORDER BY file") == [(number,) for number in range(1, FILES + 1)]


def test_ten_runners_while_one_builds_an_index_concurrently(
    folder: Path, tmp_path: Path, make_database: MakeDatabase
) -> None:
    """Waiting inside pg_advisory_lock would be a deadlock with the build, which waits for every snapshot."""
    database = make_database()
    database.sql("CREATE TABLE a (x int)")
    text = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY a_x ON a (x);\n"
    (folder / "00021_index.sql").write_text(text, encoding="utf-8")
    runners = Runners(tmp_path)
    names = [f"runner{number}" for number in range(10)]
    with psycopg.connect(database.url) as writer:
        writer.execute("INSERT INTO a VALUES (1)")
        processes = [runners.start(folder, database.url, name) for name in names]
        waiting = "waiting for lock"
        eventually(
            lambda: sum(waiting in "".join(runners.log(name)) for name in names) >= len(names) - 1 or None,
            lambda: f"not all of them say {waiting}",
        )
        database.wait_for("EXISTS (SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for writers%')")
    assert [runners.end(process) for process in processes] == [0] * 10
    assert applied(runners, names) == FILES + 1
    assert database.sql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::regclass") == [(True,)]
    [(deadlocks,)] = database.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == 0
