"""Names of tables, in settings and in SQL."""

from __future__ import annotations

import pytest

from mooring.names import TableName, literal, parse


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ("goose_a", None, "goose_a"),
        ("app.goose_a", "app", "goose_a"),
        ("Goose Mixed", None, "Goose Mixed"),
        ('"a.b"', None, "a.b"),
        ('"a.b"."c""d"', "a.b", 'c"d'),
        ('app."c.d"', "app", "c.d"),
    ],
)
def test_a_name_is_taken_as_written(text: str, schema: str | None, name: str) -> None:
    assert parse(text) == TableName(schema, name)
    assert parse(parse(text).setting) == parse(text)


@pytest.mark.parametrize("text", ["a.b.c", "", ".a", "a.", 'a"b', '"a'])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a table name"):
        parse(text)


def test_a_name_that_postgresql_would_cut_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is too long: PostgreSQL keeps 63 bytes of a name, and 'ä+' has 64"):
        parse("ä" * 32)


def test_sql_quotes_each_part() -> None:
    assert TableName("a.b", 'c"d').sql == '"a.b"."c""d"'
    assert TableName(None, "c").sql == '"c"'


@pytest.mark.parametrize(("text", "sql"), [("a", "'a'"), ("it's", "'it''s'"), ("a\\b", " E'a\\\\b'")])
def test_a_literal_means_the_same_with_and_without_standard_conforming_strings(text: str, sql: str) -> None:
    assert literal(text) == sql
