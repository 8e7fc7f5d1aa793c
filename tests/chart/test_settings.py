"""Every setting of Mooring has a value, and what the chart renders is what Mooring reads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from mooring.errors import SettingsInvalid
from mooring.settings import PREFIX, Settings, load
from mooring.tool_settings import OPTIONS
from tests.chart.helm import CHART, LEAST, ROOT, environment, merged, migrate, refusal
from tests.chart.values import camel_case, values


ELSEWHERE = {
    "database_url": "database.urlKey",  # from a secret
    "migrations": "path",  # where image has the migrations
    "termination_log": None,  # Kubernetes' own default, which the kubelet mounts
}


def test_every_setting_has_a_value() -> None:
    known = {value.path for value in values()}
    assert {ELSEWHERE.get(field, camel_case(field)) for field in Settings.model_fields} - {None} <= known


def test_every_option_of_a_tool_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in the schema are all that there are, and each reaches its setting."""
    choices = {name: option.get("enum", ["1"])[0] for name, option in schema("toolOptions")["properties"].items()}
    settings = _load(environment(migrate({"toolOptions": choices})), monkeypatch)
    expected = {field: choices.pop(camel_case(field)) for field in OPTIONS}
    assert {field: getattr(settings, field) for field in expected} == expected
    assert not choices


def test_every_value_reaches_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every value set, no setting is left at its default."""
    everything = yaml.safe_load((ROOT / "tests/chart/everything.yaml").read_text(encoding="utf-8"))
    variables = environment(migrate(everything))
    settings = _load(variables, monkeypatch)
    left = {field for field, info in Settings.model_fields.items() if getattr(settings, field) == info.default}
    assert left == {"termination_log"}
    assert [str(table) for table in settings.expected_tables] == everything["expectedTables"]
    assert settings.out_of_order == tuple(everything["outOfOrder"])


def test_the_defaults_are_those_of_mooring(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment(migrate())
    settings = _load(variables, monkeypatch)
    differ = {field for field, info in Settings.model_fields.items() if getattr(settings, field) != info.default}
    assert differ == {"service", "database_url"}


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
    choices = re.findall(r"'([a-z-]+)'", str(Settings.model_fields[field].annotation))
    assert choices
    assert set(choices) <= set(schema(camel_case(field))["enum"])


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


def schema(value: str) -> dict[str, Any]:
    """What the schema says of a value."""
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"][value]
    return found


def _load(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What Mooring makes of a container's variables."""
    mine = {name: text for name, text in variables.items() if name.startswith(PREFIX)}
    mine["MOORING_DATABASE_URL"] = "postgresql://db.example/orders"
    for name, text in mine.items():
        monkeypatch.setenv(name, text)
    return load(mine)
