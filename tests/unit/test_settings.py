"""The settings: every problem at once, no secret shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mooring.errors import SettingsInvalid
from mooring.names import TableName
from mooring.settings import Settings, load
from mooring.tool_settings import describe


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("MOORING_"):
            monkeypatch.delenv(name)


def settings(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"MOORING_{name}", value)
    return load()


def problems(monkeypatch: pytest.MonkeyPatch, **values: str) -> list[str]:
    with pytest.raises(SettingsInvalid) as error:
        settings(monkeypatch, **values)
    return list(error.value.problems)


def test_a_service_is_all_that_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, SERVICE="orders")
    assert found.model_dump(exclude_defaults=True) == {"service": "orders"}
    assert (found.wait, found.lock_wait, found.lock_timeout, found.statement_timeout) == (60, 600, 5, None)


def test_every_problem_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(
        monkeypatch,
        SERVICE="",
        VERSION_TABLE="a.b.c",
        VERSON_TABLE="x",
        FORMAT="goos",
        DATABASE_URL="postgres://u:p%zz@h/db",
        EXPECTED_TABLES="[1",
        WAIT="90",
        ALLOW_SHARED_NAME="maybe",
        LOG_LEVEL="loud",
    )
    assert found == [
        "MOORING_VERSON_TABLE is not a setting; did you mean MOORING_VERSION_TABLE?",
        "MOORING_SERVICE is empty",
        "MOORING_VERSION_TABLE: 'a.b.c': is not a table name: write name or schema.name, with double quotes around a part"
        " with dots",
        "MOORING_FORMAT: 'goos': input should be 'goose', 'golang-migrate', 'flyway', 'dbmate' or 'alembic'",
        "MOORING_DATABASE_URL: is not a connection string that libpq can read: percent-encode what is special in a URL's"
        " password, or leave the setting out and set PGHOST, PGUSER, PGPASSWORD and PGDATABASE",
        "MOORING_EXPECTED_TABLES: '[1': is not a JSON list: Expecting ',' delimiter: line 1 column 3 (char 2)",
        "MOORING_WAIT: '90': is not a duration: write a number and ms, s, m or h, such as 90s or 10m",
        "MOORING_ALLOW_SHARED_NAME: 'maybe': input should be a valid boolean, unable to interpret input",
        "MOORING_LOG_LEVEL: 'loud': input should be 'debug', 'info', 'warning' or 'error'",
    ]


def test_a_password_in_a_url_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = problems(monkeypatch, SERVICE="a", WAIT="postgres://u:hunter2@h/db")
    assert found[0].startswith("MOORING_WAIT: 'postgres://u:***@h/db': is not a duration")
    assert "hunter2" not in repr(settings(monkeypatch, WAIT="1s", DATABASE_URL="postgres://u:hunter2@h/db"))


def test_empty_values_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, SERVICE="a", EXPECTED_TABLES="", VERSION_TABLE="", WAIT="").expected_tables == ()


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("0s", 0)])
def test_durations_have_units(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    assert settings(monkeypatch, SERVICE="a", WAIT=text).wait == seconds


@pytest.mark.parametrize("text", ["a, app.b ,", '["a", "app.b"]'])
def test_lists_are_comma_separated_or_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert settings(monkeypatch, SERVICE="a", EXPECTED_TABLES=text).expected_tables == (
        TableName(None, "a"),
        TableName("app", "b"),
    )


def test_any_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://u:secret@h/db\n", encoding="utf-8")
    (tmp_path / "service").write_text("orders\n", encoding="utf-8")
    found = settings(monkeypatch, SERVICE_FILE=str(tmp_path / "service"), DATABASE_URL_FILE=str(tmp_path / "url"))
    assert found.service == "orders"
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == "postgres://u:secret@h/db"


def test_a_file_that_cannot_be_read_or_is_set_twice_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wait").write_text("1s", encoding="utf-8")
    assert problems(monkeypatch, SERVICE_FILE="/nope", WAIT="2s", WAIT_FILE=str(tmp_path / "wait")) == [
        "MOORING_SERVICE_FILE: /nope: No such file or directory",
        "MOORING_WAIT and MOORING_WAIT_FILE are both set: leave one of them out",
    ]


def test_what_kubernetes_sets_for_a_service_called_mooring_is_no_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP_ADDR")
    assert settings(monkeypatch, SERVICE="a", **dict.fromkeys(names, "10.0.0.1")).service == "a"


def test_a_version_table_leaves_room_for_its_ledgers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems(monkeypatch, SERVICE="a", VERSION_TABLE="t" * 57) == [
        f"MOORING_VERSION_TABLE: '{'t' * 57}': is too long: with _ledger behind it, it must fit into PostgreSQL's 63 bytes"
    ]


@pytest.mark.parametrize("service", ["a\nb", " a", "a\u2028b"])
def test_a_service_is_printable(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    assert problems(monkeypatch, SERVICE=service) == [
        f"MOORING_SERVICE: {service!r}: must be printable, without spaces around it"
    ]


def test_every_setting_is_described() -> None:
    assert all(meaning.endswith(".") for _, _, meaning in describe())
    assert {name: default for name, default, _ in describe()}["MOORING_LOCK_WAIT"] == "10m"
