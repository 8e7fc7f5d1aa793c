"""Alembic revisions as psycopg2 runs them, for which most are written, and what becomes of them when they fail."""

from __future__ import annotations

import pytest

from tests.postgres.conftest import Database, MakeService, Service


BASE = (
    "op.execute(\"CREATE TYPE color AS ENUM ('red')\")\n"
    "op.execute('CREATE TABLE a (id serial, x numeric, c color, u uuid, d interval, j jsonb)')"
)


def put(service: Service, *bodies: str) -> Service:
    """Write a revision for each body of `upgrade`, one on top of the other."""
    service.put("env.py", "")
    for number, body in enumerate(bodies, 1):
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        down = repr(str(number - 1)) if number > 1 else None
        head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '{number}'\ndown_revision = {down}\n"
        service.put(f"versions/{number}_x.py", f"{head}def upgrade():\n{lines}")
    return service


@pytest.mark.parametrize("commit", ["op.execute('COMMIT')", "op.get_bind().execute(sa.text('end'))"])
@pytest.mark.parametrize(
    "after",
    [
        "op.execute(\"ALTER TYPE color ADD VALUE 'blue'\")\nop.execute(\"INSERT INTO a (c) VALUES ('blue')\")",
        "op.execute('CREATE INDEX CONCURRENTLY a_x ON a (x)')\nop.execute('VACUUM a')",
        "op.execute('BEGIN')\nop.execute('SAVEPOINT s')",
    ],
)
def test_a_revision_may_end_its_transaction(
    make_service: MakeService, database: Database, commit: str, after: str
) -> None:
    service = put(
        make_service(), BASE, f"op.execute('CREATE TABLE b ()')\n{commit}\n{after}", "op.execute('VALUES (1)')"
    )
    assert service.mooring().code == 0
    assert database.sql("SELECT version_num FROM alembic_ingestion") == [("3",)]
    assert {"a", "b"} <= database.tables()
    assert service.mooring("verify").code == 0


def test_what_a_revision_committed_before_it_failed_is_half_done(make_service: MakeService, database: Database) -> None:
    body = "op.execute('CREATE TABLE b ()')\nop.execute('COMMIT')\nop.execute('SELECT 1/0')"
    service = put(make_service(), BASE, body)
    assert service.mooring().code == 30
    assert database.sql("SELECT version_num FROM alembic_ingestion") == [("1",)]
    assert "b" in database.tables()
    assert service.mooring().code == 31


def test_the_transaction_of_the_next_revision_is_whole_again(make_service: MakeService, database: Database) -> None:
    service = put(
        make_service(), BASE, "op.execute('COMMIT')", "op.execute('CREATE TABLE b ()')\nop.execute('SELECT 1/0')"
    )
    assert service.mooring().code == 30
    assert "b" not in database.tables()


def test_a_commit_through_sqlalchemy_takes_nothing_away(make_service: MakeService, database: Database) -> None:
    """After which Alembic itself loses, without a word, both what follows and its row."""
    body = "bind = op.get_bind()\nbind.execute(sa.text('CREATE TABLE b ()'))\nbind.commit()\nop.execute('CREATE TABLE c ()')"
    assert put(make_service(), BASE, body).mooring().code == 0
    assert database.sql("SELECT version_num FROM alembic_ingestion") == [("2",)]
    assert {"a", "b", "c"} <= database.tables()


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("INSERT INTO a (x) VALUES (:one); INSERT INTO a (x) VALUES (:two)", {"one": 1, "two": 2}),
        ("ALTER TABLE a ALTER x SET DEFAULT :x", {"x": 5}),
        ("INSERT INTO a (x) SELECT 1 WHERE :x IS NULL", {"x": None}),
        ("INSERT INTO a (d) VALUES (interval :x)", {"x": "1 day"}),
        ("INSERT INTO a (j) VALUES (jsonb_build_object('k', :x))", {"x": "it's"}),
        ("DELETE FROM a WHERE id IN :ids OR u::text IN :names", {"ids": (1, 2), "names": ("it's",)}),
    ],
)
def test_values_go_where_a_client_can_put_them(
    make_service: MakeService, statement: str, values: dict[str, object]
) -> None:
    body = f"op.get_bind().execute(sa.text({statement!r}), {values!r})"
    assert put(make_service(), BASE, body).mooring().code == 0


def test_a_value_takes_the_type_of_its_column(make_service: MakeService, database: Database) -> None:
    """And not the one that a revision's own sketch of the table gives it."""
    body = (
        "a = sa.table('a', *(sa.column(name, sa.String) for name in 'cuj'))\n"
        "op.bulk_insert(a, [{'c': 'red', 'u': 'c56a4180-65aa-42ec-a945-5fd21dec0538', 'j': '{}'}] * 2)\n"
        "op.execute(sa.text('CREATE TABLE b AS SELECT :x AS x').bindparams(x='text'))"
    )
    assert put(make_service(), BASE, body).mooring().code == 0
    assert database.sql("SELECT c, j FROM a") == [("red", {}), ("red", {})]
    assert database.sql("SELECT pg_typeof(x)::text FROM b") == [("text",)]


def test_a_statement_that_cannot_run_in_a_transaction_says_what_to_write(make_service: MakeService) -> None:
    outcome = put(make_service(), BASE, "op.execute('VACUUM a')").mooring()
    assert outcome.code == 30
    assert outcome.event("failed")["hint"].startswith("In 2_x.py, put this statement below with op.get_context()")
