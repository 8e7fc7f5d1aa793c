"""A service's migrations for the fault harness: the same work in each tool's format, of every kind that can be cut off.

Each file writes its own name into the table `ran`, so that a file that ran twice, or never, is seen.
"""

from __future__ import annotations

from collections.abc import Mapping


def _ran(name: str) -> str:
    return f"INSERT INTO ran VALUES ('{name}');"


FILLER = "INSERT INTO t{0} SELECT n, repeat('x', 200) FROM generate_series(1, 300) AS n;"
TABLES = [
    f"CREATE TABLE t{n} (id int PRIMARY KEY, text text);\n{FILLER.format(n)}\n{_ran(f'table {n}')}" for n in range(1, 7)
]
START = "CREATE TABLE ran (name text);\nCREATE TYPE mood AS ENUM ('good');\n" + _ran("start")
FUNCTION = f"""CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.text := 'a;b'; RETURN NEW; END; $$;
CREATE TRIGGER f BEFORE INSERT ON t1 FOR EACH ROW EXECUTE FUNCTION f();
{_ran("function")}"""
STEPS = [
    "CREATE INDEX CONCURRENTLY t1_text ON t1 (text);",
    "ALTER TYPE mood ADD VALUE 'bad';",
    "VACUUM t2;",
    _ran("steps"),
    "CREATE INDEX CONCURRENTLY t2_text ON t2 (text);",
]
ROWS = "".join(f"{n}\tsome text\n" for n in range(500))
COPY = f"CREATE TABLE copied (id int, text text);\nCOPY copied FROM STDIN;\n{ROWS}\\.\n{_ran('data')}"
LAST = "ALTER TABLE t1 RENAME TO renamed;\nDROP TABLE t6;\n" + _ran("last")


def _goose() -> Mapping[str, str]:
    bodies = [START, *TABLES, f"-- +goose StatementBegin\n{FUNCTION}\n-- +goose StatementEnd", "\n".join(STEPS), LAST]
    return {
        f"{n:05}_file.sql": "-- +goose NO TRANSACTION\n" * (VACUUM in body) + f"-- +goose Up\n{body}\n"
        for n, body in enumerate(bodies, 1)
    }


VACUUM = "VACUUM"


def _golang_migrate() -> Mapping[str, str]:
    bodies = [
        START,
        *TABLES,
        FUNCTION,
        STEPS[0],
        f"BEGIN;\n{STEPS[1]}\nCOMMIT;\nBEGIN;\n{STEPS[3]}\nCOMMIT;",
        STEPS[2],
        STEPS[4],
    ]
    return {f"{n:06}_file.up.sql": body for n, body in enumerate([*bodies, f"BEGIN;\n{LAST}\nCOMMIT;"], 1)}


def _flyway() -> Mapping[str, str]:
    bodies = [START, *TABLES, FUNCTION, "\n".join(STEPS), LAST]
    files = {f"V{n}__file.sql": body for n, body in enumerate(bodies, 1)}
    return files | {
        "V9__file.sql.conf": "executeInTransaction=false\n",
        "V11__data.sql": COPY,
        "R__view.sql": "CREATE OR REPLACE VIEW v AS SELECT 1 AS x;\n",
    }


def _dbmate() -> Mapping[str, str]:
    bodies = [START, *TABLES, FUNCTION, "\n".join(STEPS), LAST]
    return {
        f"{n:05}_file.sql": f"-- migrate:up{' transaction:false' * (VACUUM in body)}\n{body}\n-- migrate:down\n"
        for n, body in enumerate(bodies, 1)
    }


def _alembic() -> Mapping[str, str]:
    bodies = [START, *TABLES, FUNCTION, STEPS[1] + _ran("steps"), LAST]
    files = {}
    for n, body in enumerate(bodies, 1):
        down = repr(f"{n - 1:03}") if n > 1 else None
        head = f"from alembic import op\nrevision = '{n:03}'\ndown_revision = {down}\n"
        files[f"versions/{n:03}_file.py"] = f"{head}def upgrade():\n    op.execute({body!r})\n"
    return files


FOLDERS = {
    "goose": _goose(),
    "golang-migrate": _golang_migrate(),
    "flyway": _flyway(),
    "dbmate": _dbmate(),
    "alembic": _alembic(),
}
