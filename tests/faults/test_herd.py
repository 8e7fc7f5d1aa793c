"""Two hundred pods that start at once, on a server that has room for sixty."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.runners import Runners
from tests.postgres.conftest import Database, MakeDatabase


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


def herd(runners: Runners, folder: Path, database: Database) -> tuple[Counter[int], int, float]:
    """Start all of them at once: how they ended, how many files they ran, and in how many seconds."""
    begun = time.monotonic()
    processes = [runners.start(folder, database.url, f"runner{number}", SERVICE="herd") for number in range(HERD)]
    codes = Counter(runners.end(process) for process in processes)
    seconds = time.monotonic() - begun
    events = [json.loads(line) for number in range(HERD) for line in runners.log(f"runner{number}")]
    return codes, sum(event["applied"] for event in events if event["event"] == "done"), seconds


def test_two_hundred_runners_at_once(
    folder: Path, tmp_path: Path, make_database: MakeDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an empty database, and then with nothing to do: none fails, and each file runs once."""
    database = make_database()
    [(most,)] = database.sql("SHOW max_connections")
    assert most == "60"
    for applied in (FILES, 0):
        codes, ran, seconds = herd(Runners(tmp_path), folder, database)
        with capsys.disabled():
            print(f"\nherd of {HERD}: {applied} files, {seconds:.1f} s, {dict(codes)}")
        assert codes == {0: HERD}
        assert ran == applied
    assert database.sql("SELECT file FROM ran ORDER BY file") == [(number,) for number in range(1, FILES + 1)]
