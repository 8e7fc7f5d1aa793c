"""What a run says, in the log and in its last word."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from mooring.errors import MigrationFailed, SettingsInvalid, redact
from mooring.failure import excerpt
from mooring.report import Report


def test_an_error_is_one_json_line_with_all_that_is_known() -> None:
    stream = io.StringIO()
    Report(stream=stream, log_format="json").failed(
        MigrationFailed("1_a.sql:1:1: no", details=["SQLSTATE 42"], hint="Do it.", version="1")
    )
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "error",
        "event": "failed",
        "exit_code": 30,
        "error": "A migration failed",
        "problems": ["1_a.sql:1:1: no"],
        "details": ["SQLSTATE 42"],
        "hint": "Do it.",
        "version": "1",
    }


def test_on_a_terminal_it_is_a_text_to_read() -> None:
    stream = io.StringIO()
    error = MigrationFailed("1_a.sql:1:1: no", details=["SQLSTATE 42"], hint="Do it.", version="1")
    Report(stream=stream, log_format="console").failed(error)
    assert stream.getvalue()[9:] == (
        "failed     A migration failed  exit_code=30 version=1\n    1_a.sql:1:1: no\n    SQLSTATE 42\n    Do it.\n"
    )


def test_the_last_word_is_one_line_of_at_most_a_kibibyte(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    report = Report(stream=io.StringIO(), termination_log=path)
    report.failed(SettingsInvalid("MOORING_SERVICE is missing", "MOORING_WAIT is\nwrong"))
    assert path.read_text(encoding="utf-8") == "exit 2: MOORING_SERVICE is missing; MOORING_WAIT is wrong"
    report.failed(SettingsInvalid(*["ä" * 100] * 20))
    assert len(path.read_bytes()) <= 1024
    assert path.read_text(encoding="utf-8").endswith("ä…")


def test_a_last_word_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    Report(stream=io.StringIO(), termination_log=tmp_path).done("all well")
    Report(stream=io.StringIO(), termination_log=tmp_path / "no" / "folder").done("all well")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://u:p@ss@h/db?x", "postgres://u:***@h/db?x"),
        ("host=h password=secret user=u", "host=h password=*** user=u"),
        ("host=h password='a \\' b' user=u", "host=h password=*** user=u"),
        ("http://example.com:80/a", "http://example.com:80/a"),
    ],
)
def test_passwords_in_connection_strings_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_secrets_are_hidden_wherever_an_event_has_them() -> None:
    stream = io.StringIO()
    Report(stream=stream, log_format="json").log.info("x", one="postgres://u:hunter2@h", many=["password=hunter2"])
    assert "hunter2" not in stream.getvalue()


def test_a_crash_is_logged_with_its_traceback(tmp_path: Path) -> None:
    stream = io.StringIO()
    try:
        raise RuntimeError("boom")  # noqa: TRY301 - the traceback is what is tested
    except RuntimeError as error:
        Report(stream=stream, log_format="json", termination_log=tmp_path / "log").crashed(error)
    event = json.loads(stream.getvalue())
    assert event["exit_code"] == 1
    assert 'raise RuntimeError("boom")' in event["traceback"]
    assert (tmp_path / "log").read_text(
        encoding="utf-8"
    ) == "exit 1: a bug in Mooring, see the log: RuntimeError('boom')"


def test_an_excerpt_points_below_tabs_and_into_long_lines() -> None:
    assert excerpt("a\n\tb c", 2, 4) == ["    2 | \tb c", "      | \t  ^"]
    source, caret = excerpt("x" * 500 + "!" + "y" * 500, 1, 501)
    assert source[caret.index("^")] == "!"
    assert len(source) <= 130
