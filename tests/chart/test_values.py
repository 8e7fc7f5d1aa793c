"""The documentation of the values: the comments, the README's table, the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart import values
from tests.chart.helm import CHART, helm


@pytest.mark.parametrize("value", values.values(), ids=lambda value: value.path)
def test_a_comment_starts_with_the_name_of_its_value(value: values.Value) -> None:
    assert value.comment.startswith(f"{value.path} ")


def test_the_table_in_the_readme_is_up_to_date() -> None:
    """`python tests/chart/values.py` writes it."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    assert text == values.readme(text)


def test_the_options_in_the_schema_are_those_of_mooring() -> None:
    """`python tests/chart/values.py` writes them."""
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert text == values.schema(text)


def test_the_schema_knows_exactly_the_values_that_are_there() -> None:
    """And beside them what an umbrella chart adds."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    documented = {value.path for value in values.values()}
    assert set(_paths(schema, schema["definitions"], documented)) == documented | {"global", "enabled"}


def _paths(schema: dict[str, Any], definitions: dict[str, Any], documented: set[str], above: str = "") -> list[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if above in documented or "properties" not in schema:
        return [above]
    below = schema["properties"].items()
    return [
        path for key, value in below for path in _paths(value, definitions, documented, f"{above}.{key}".lstrip("."))
    ]


def test_the_schema_needs_no_network() -> None:
    assert '"$ref": "http' not in (CHART / "values.schema.json").read_text(encoding="utf-8")


def test_the_chart_lints_without_any_values() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_the_versions_are_those_of_mooring() -> None:
    from mooring import __version__

    chart = helm("show", "chart", str(CHART))
    assert f"appVersion: {__version__}\n" in chart
