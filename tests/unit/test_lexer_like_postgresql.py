"""The lexer against PostgreSQL's own parser: no difference in where statements begin and end."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pglast
import pytest

from mooring.lexer import split


STATEMENTS = [
    "SELECT 1",
    "SELECT 'a;b', 'it''s;', E'\\';', e'a'\n 'b\\';', U&'d\\0061;', B'01', X'0f', N'a;'",
    'SELECT 1 AS "a;""b", U&"d\\0061;t" AS c',
    "SELECT $$;$$, $a$;$$;$a$, $ä1$;$ä1$, a$b$c FROM t",
    "SELECT a[1:2], b::text, c->>'x;' , -1, 1.5e-3, a<-1, a- -1, a*-/* ; */1",
    "SELECT 1--;\n+2",
    "SELECT /* ; /* ; */ -- ; */ 1",
    "CREATE TABLE t (a int DEFAULT 1, b text CHECK (b <> ';'), \"end\" int)",
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN a; END; $$",
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN ''a;''; END;'",
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a > 1 THEN 2 END; END",
    "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT (CASE WHEN true THEN 1 END); SELECT 2; END",
    "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM t; END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (1); DELETE FROM v; NOTIFY x)",
    "CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING",
    "DO $do$ BEGIN EXECUTE 'SELECT ''; '''; END $do$",
    "INSERT INTO t (a, b) VALUES (1, 'x;y'), (2, E'\\\\'), (3, '\\')",
    "CREATE INDEX CONCURRENTLY i ON t (a) WHERE b = ';'",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT $1 + $2",
    "COMMENT ON TABLE t IS 'a;\nb'",
    "ALTER TABLE t ADD CONSTRAINT c EXCLUDE USING gist (a WITH &&)",
    "CREATE OPERATOR @#@ (LEFTARG = int, RIGHTARG = int, FUNCTION = f)",
    "SELECT 5 @ 3, a ?| b, c #>> '{;}', d !~~ 'x'",
]
BETWEEN = [";", ";\n", "; -- ;'\n", "; /* ; ' */ ", ";;\n", ";\r\n", ";\t-- $$\r\n", "\n;\n\n"]


def differences(sql: str) -> str:
    """Where the lexer and PostgreSQL's parser disagree."""
    slices = [(one.start, one.stop) for one in pglast.split(sql, only_slices=True)]
    statements, rest = split(sql)
    starts = [0, *(index + 1 for index, letter in enumerate(sql) if letter == "\n")]
    ours = []
    for statement in [*statements, *([rest] if rest else [])]:
        start = starts[statement.line - 1] + statement.column - 1
        ours.append((start, start + len(statement.text)))
    # PostgreSQL counts the white space and the comments behind a statement's last word in or out as it likes.
    trimmed = [(start, start + len(sql[start:stop].rstrip())) for start, stop in ours]
    theirs = [(start, start + len(sql[start:stop].rstrip())) for start, stop in slices]
    return "" if trimmed == theirs else f"{trimmed} is not {theirs} in {sql!r}"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_each_statement_is_one(statement: str) -> None:
    assert not differences(f"{statement};\nSELECT 'next'")


@pytest.mark.parametrize("seed", range(200))
def test_generated_scripts_are_split_alike(seed: int) -> None:
    choose = random.Random(seed)
    script = "".join(choose.choice(STATEMENTS) + choose.choice(BETWEEN) for _ in range(choose.randint(1, 12)))
    assert not differences(script + choose.choice(["", "SELECT 'last'", "-- ;\n", "/* ; */"]))


def test_a_folder_of_files_is_split_alike() -> None:
    """SQL_FOLDER names one with files of your own; those with a NUL, which no reader lets through, are left out."""
    folder = Path(os.environ.get("SQL_FOLDER", Path(__file__).parent))
    for file in folder.rglob("*.sql"):
        text = file.read_text(encoding="utf-8", errors="replace")
        if "\0" in text:
            continue
        try:
            pglast.split(text, only_slices=True)
        except pglast.parser.ParseError:
            continue
        assert not differences(text), file
