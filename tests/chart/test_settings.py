"""Every setting of Mooring has a value, and what the chart renders is what Mooring reads."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from mooring.errors import SettingsInvalid
from mooring.settings import PREFIX, Settings, load
from tests.chart.helm import CHART, LEAST, ROOT, environment, merged, migrate, refusal
from tests.chart.values import values


ELSEWHERE = {
    "database_url": "database.urlKey",  # from a secret
    "migrations": "path",  # where image has the migrations
    "termination_log": None,  # Kubernetes' own default, which the kubelet mounts
}


def test_every_setting_has_a_value() -> None:
    known = {value.path for value in values()}
    expected = {ELSEWHERE.get(field, _camel_case(field)) for field in Settings.model_fields}
    assert expected - {None} <= known


def test_every_value_reaches_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every value set, no setting is left at its default."""
    everything = yaml.safe_load((ROOT / "tests/chart/everything.yaml").read_text(encoding="utf-8"))
    variables = environment(migrate(everything)) | {"MOORING_DATABASE_URL": "postgresql://db.example/orders"}
    mine = {name: text for name, text in variables.items() if name.startswith(PREFIX)}
    for name, text in mine.items():
        monkeypatch.setenv(name, text)
    settings = load(mine)
    left = {field for field, info in Settings.model_fields.items() if getattr(settings, field) == info.default}
    assert left == {"termination_log"}
    assert [str(table) for table in settings.expected_tables] == everything["expectedTables"]
    assert settings.out_of_order == tuple(everything["outOfOrder"])


def test_the_defaults_are_those_of_mooring(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment(migrate()) | {"MOORING_DATABASE_URL": ""}
    mine = {name: text for name, text in variables.items() if name.startswith(PREFIX)}
    for name, text in mine.items():
        monkeypatch.setenv(name, text)
    settings = load(mine)
    differ = {field for field, info in Settings.model_fields.items() if getattr(settings, field) != info.default}
    assert differ == {"service"}


@pytest.mark.parametrize(
    "text", ["90s", "10m", "500ms", "1.5h", "0s", "10 m", "90", "1d", "-1s", "1h30m", "soon", "5S", ".5s"]
)
def test_durations_are_what_mooring_takes_them_for(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORING_SERVICE", "orders")
    monkeypatch.setenv("MOORING_WAIT", text)
    try:
        load({"MOORING_WAIT": text})
    except SettingsInvalid:
        assert "at '/wait'" in refusal(merged(LEAST, {"wait": text}))
    else:
        assert environment(migrate({"wait": text}))["MOORING_WAIT"] == text


@pytest.mark.parametrize("field", ["format", "log_format", "log_level"])
def test_the_choices_are_those_of_mooring(field: str) -> None:
    """The chart may know a format that this Mooring does not read yet, never the other way round."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    choices = re.findall(r"'([a-z-]+)'", str(Settings.model_fields[field].annotation))
    assert choices
    assert set(choices) <= set(schema["properties"][_camel_case(field)]["enum"])


def test_extra_variables_win_and_no_name_is_there_twice() -> None:
    """Server-side apply refuses a list with one name twice."""
    extra = [{"name": "MOORING_WAIT", "value": "5m"}, {"name": "MOORING_DATABASE_URL", "value": "postgresql://db"}]
    found = environment(migrate({"extraEnv": extra}))
    assert found["MOORING_WAIT"] == "5m"
    assert found["MOORING_DATABASE_URL"] == "postgresql://db"


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ({"secret": "db", "urlKey": "uri"}, {"MOORING_DATABASE_URL": "db/uri"}),
        (
            {"secret": "db", "hostKey": "h", "portKey": "p", "dbnameKey": "d", "userKey": "u", "passwordKey": "s"},
            {"PGHOST": "db/h", "PGPORT": "db/p", "PGDATABASE": "db/d", "PGUSER": "db/u", "PGPASSWORD": "db/s"},
        ),
        (
            {
                "host": "h",
                "port": 5433,
                "dbname": "d",
                "user": "u",
                "sslMode": "require",
                "secret": "db",
                "passwordKey": "s",
            },
            {
                "PGHOST": "h",
                "PGPORT": "5433",
                "PGDATABASE": "d",
                "PGUSER": "u",
                "PGSSLMODE": "require",
                "PGPASSWORD": "db/s",
            },
        ),
        (
            {"secret": "db", "urlKey": "uri", "dbname": "orders"},
            {"MOORING_DATABASE_URL": "db/uri", "PGDATABASE": "orders"},
        ),
    ],
    ids=["a URL", "keys", "literals and a password", "a URL without a database"],
)
def test_a_connection_can_be_given_as(database: dict[str, Any], expected: dict[str, str]) -> None:
    found = environment(migrate({"database": {"secret": "", "urlKey": ""} | database}))
    assert {name: text for name, text in found.items() if name.startswith("PG") or name.endswith("URL")} == expected


@pytest.mark.parametrize(
    "values",
    [
        {"extraEnv": [{"name": "MOORING_DATABASE_URL_FILE", "value": "/vault/url"}]},
        {"extraEnv": [{"name": "PGHOST", "value": "db"}, {"name": "PGUSER", "value": "orders"}]},
        {"extraEnvFrom": [{"secretRef": {"name": "orders-db"}}]},
    ],
)
def test_a_connection_may_come_from_variables_alone(values: dict[str, Any]) -> None:
    assert migrate({"database": {"secret": "", "urlKey": ""}} | values)


def _camel_case(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)
