"""Where statements end."""

from __future__ import annotations

import pytest

from mooring.lexer import NOWHERE, Statement, UnfinishedError, split


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'a;b'",
        "SELECT 'it''s;'",
        "SELECT 'back\\' ",
        "SELECT E'it\\';'",
        "SELECT E'a'\n  'b\\';'",
        "SELECT U&'d\\0061t;'",
        'SELECT 1 AS "a;b"',
        'SELECT 1 AS "a"";b"',
        "SELECT $$a;b$$",
        "SELECT $tag$ ; $$ ; $tag$",
        "SELECT $täg$;$täg$",
        "SELECT a$b$, 1",
        "SELECT $1",
        "SELECT 1 /* ; */",
        "SELECT 1 /* ; /* ; */ ; */ + 1",
        "SELECT 1 -- ;\n + 1",
        "SELECT 5 --;\n",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 END; SELECT 2; END",
        "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
    ],
)
def test_a_semicolon_inside_ends_nothing(statement: str) -> None:
    statements, rest = split(f"{statement};\nSELECT 'next';")
    assert [one.text for one in statements] == [statement, "SELECT 'next'"]
    assert rest is None


def test_comments_and_empty_statements_are_none() -> None:
    assert split("-- a;\n;;/* b; */ ; -- c") == ([], None)


def test_a_statement_knows_where_it_begins_and_what_it_begins_with() -> None:
    statements, rest = split("-- first\n  SELECT 1; /* c */ CREATE UNIQUE INDEX\n  concurrently i ON t (x)")
    assert statements == [Statement(NOWHERE, "SELECT 1", 2, 3, ("SELECT",))]
    assert rest == Statement(
        NOWHERE,
        "CREATE UNIQUE INDEX\n  concurrently i ON t (x)",
        *(2, 21),
        ("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "I", "ON", "T"),
    )


@pytest.mark.parametrize(("position", "place"), [(1, (3, 5)), (8, (3, 12)), (10, (4, 1)), (12, (4, 3))])
def test_a_position_in_a_statement_is_one_in_its_file(position: int, place: tuple[int, int]) -> None:
    assert Statement(NOWHERE, "SELECT x\nFROM y", 3, 5, ()).locate(position) == place


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("SELECT 'a", "'"),
        ("SELECT E'a\\'", "E'"),
        ('SELECT "a', '"'),
        ("SELECT $x$ a $$", "$x$"),
        ("SELECT /* /* */ 1", "/*"),
    ],
)
def test_what_is_never_closed_is_named_with_its_place(text: str, opening: str) -> None:
    with pytest.raises(UnfinishedError) as error:
        split(f"SELECT 1;\n{text};")
    assert (str(error.value), error.value.line, error.value.column) == (f"{opening} is never closed", 2, 8)


def test_only_the_part_that_is_asked_for_is_split() -> None:
    text = "SELECT 'a;\nSELECT 2;\nSELECT 3;"
    statements, _ = split(text, 11, 20)
    assert statements == [Statement(NOWHERE, "SELECT 2", 2, 1, ("SELECT",))]
