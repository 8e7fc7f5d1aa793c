"""The tables that SQL leaves behind, as far as its text tells."""

from __future__ import annotations

import pytest

from mooring.lexer import split
from mooring.names import TableName
from mooring.tables import left_behind


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("CREATE TABLE a ()", ["a"]),
        ("create table if not exists App.Orders (id int)", ["app.orders"]),
        ('CREATE /* a */ UNLOGGED -- b\n TABLE "My.Schema" . "T ""x"""()', ['"My.Schema"."T ""x"""']),
        ("CREATE FOREIGN TABLE f () SERVER s", ["f"]),
        ("CREATE TABLE a AS SELECT 1", ["a"]),
        ("CREATE TEMP TABLE a (); CREATE TEMPORARY TABLE b (); CREATE INDEX c ON d (e)", []),
        ("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)", []),
        ('CREATE TABLE IF NOT EXISTS s.p1 PARTITION OF s.p DEFAULT; CREATE TABLE "s" . p2 PARTITION OF p DEFAULT', []),
        ("CREATE TABLE a (); CREATE TABLE b (); DROP TABLE IF EXISTS a, c CASCADE", ["b"]),
        ("CREATE TABLE a (); ALTER TABLE ONLY a RENAME TO b", ["b"]),
        ("CREATE TABLE a (x int); ALTER TABLE a RENAME COLUMN x TO y", ["a"]),
        ("CREATE TABLE a (); ALTER TABLE IF EXISTS a SET SCHEMA s", ["s.a"]),
        ("CREATE TABLE a (); ALTER TABLE p ATTACH PARTITION a DEFAULT", []),
        ("CREATE TABLE s.a (); CREATE TABLE b (); DROP SCHEMA IF EXISTS s CASCADE", ["b"]),
        ("CREATE TABLE a (); DROP TABLE a; CREATE TABLE a ()", ["a"]),
        ("DO $$ BEGIN CREATE TABLE inside (); END $$", []),
        ("CREATE TABLE a (); ALTER TABLE public.a SET SCHEMA s; DROP TABLE s.a", []),
        ("CREATE TABLE public.a (); CREATE TABLE app.a (); DROP TABLE a", []),
        ("CREATE TABLE public.a (); CREATE TABLE app.a (); DROP TABLE app.a", ["public.a"]),
        ("CREATE TABLE a (); ALTER TABLE public.a RENAME TO b", ["b"]),
        ("CREATE TABLE s.a (); CREATE TABLE b (); ALTER SCHEMA s RENAME TO t", ["b", "t.a"]),
        ("CREATE TABLE Old (); CREATE TABLE b (); DO $$ BEGIN DROP TABLE OLD; END $$", ["b"]),
        ("CREATE TABLE a (); DO $$ BEGIN EXECUTE 'ALTER TABLE a RENAME TO b'; END $$", []),
        ("CREATE TABLE a (); DO $$ BEGIN INSERT INTO a VALUES (1); END $$", ["a"]),
    ],
)
def test_tables_are_read_from_the_text(sql: str, tables: list[str]) -> None:
    statements, rest = split(sql)
    found = left_behind([*statements, *([rest] if rest else [])])
    assert sorted(table.setting for table in found) == tables


def test_a_name_without_a_schema_is_left_to_the_search_path() -> None:
    assert left_behind(split("CREATE TABLE a ();")[0]) == {TableName(None, "a")}
