"""The five tools, each with the same three migrations in its own format, and its own command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.postgres.conftest import Database


BINARIES = Path(os.environ.get("PEERS_BIN", Path(__file__).parents[2] / ".cache/bin"))

TABLE = "CREATE TABLE sources (id bigserial PRIMARY KEY, kind text);"
FUNCTION = """CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.kind := coalesce(NEW.kind, 'none; really');
  RETURN NEW;
END;
$$;"""
TRIGGER = "CREATE TRIGGER touch BEFORE INSERT ON sources FOR EACH ROW EXECUTE FUNCTION touch();"
INDEX = "CREATE INDEX CONCURRENTLY kinds ON sources (kind);"
DYNAMIC = "DO $$ BEGIN EXECUTE 'CREATE TABLE made ()'; END $$;"


@dataclass(frozen=True)
class Tool:
    """A peer: what its files look like, and how it is run."""

    format: str
    files: Mapping[str, str]
    """Four migrations: a table; a function with a trigger; an index built concurrently; dynamic SQL."""
    more: tuple[str, str]
    """A fifth, which makes the table `more`."""
    rows: str
    """A query for what the version table has that is the same whoever writes it; {} is the table."""
    commands: Callable[[str, Path, str, str], Sequence[str | Path]]
    """The command for what is to be done ("up", "check", or the version to go up to), in a folder, with a table, at a URL."""
    environment: Callable[[str], Mapping[str, str]] = lambda _: {}

    @property
    def table(self) -> str:
        """The version table of the service `ingestion`."""
        return f"{self.format.replace('-', '_')}_ingestion"

    def run(
        self, folder: Path, database: Database, what: str = "up", table: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever becomes of it."""
        command = self.commands(what, folder, table or self.table, database.url)
        environment = os.environ | self.environment(database.url)
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)

    def must(self, folder: Path, database: Database, what: str = "up") -> str:
        """Run the command, which has to succeed; what it prints."""
        result = self.run(folder, database, what)
        assert result.returncode == 0, f"{self.format}: {result.stdout}{result.stderr}"
        return result.stdout + result.stderr


def _goose(what: str, folder: Path, table: str, url: str) -> Sequence[str | Path]:
    command = {"up": ["up"], "check": ["status"]}.get(what, ["up-to", what])
    return [BINARIES / "goose", "-dir", folder, "-table", table, "postgres", url, *command]


def _golang_migrate(what: str, folder: Path, table: str, url: str) -> Sequence[str | Path]:
    command = {"up": ["up"], "check": ["version"]}.get(what, ["goto", what])
    url = url.replace("postgresql:", "pgx5:") + f"?sslmode=disable&x-migrations-table={table}"
    return [BINARIES / "migrate", "-path", folder, "-database", url, *command]


def _flyway(what: str, folder: Path, table: str, url: str) -> Sequence[str | Path]:
    command = {"up": ["migrate"], "check": ["validate", "info"]}.get(what, [f"-target={what}", "migrate"])
    parts = urlsplit(url)
    options = [f"-url=jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}", "-user=postgres", "-password=x"]
    # Flyway's own lock would make its CREATE INDEX CONCURRENTLY wait for itself (flyway/flyway#3497).
    options += [f"-locations=filesystem:{folder}", f"-table={table}", "-postgresql.transactional.lock=false"]
    return [BINARIES / "flyway", *options, *command]


def _dbmate(what: str, folder: Path, table: str, url: str) -> Sequence[str | Path]:  # noqa: ARG001 - in the environment
    command = {"up": ["--no-dump-schema", "migrate"], "check": ["status", "--exit-code"]}[what]
    return [BINARIES / "dbmate", "-d", folder, "--migrations-table", table, *command]


GOOSE = Tool(
    "goose",
    {
        "00001_sources.sql": f"-- +goose Up\n{TABLE}\n-- +goose Down\nDROP TABLE sources;\n",
        "00002_touch.sql": f"-- +goose Up\n-- +goose StatementBegin\n{FUNCTION}\n-- +goose StatementEnd\n{TRIGGER}\n",
        "00003_kinds.sql": f"-- +goose NO TRANSACTION\n-- +goose Up\n{INDEX}\n",
        "00004_made.sql": f"-- +goose Up\n-- +goose StatementBegin\n{DYNAMIC}\n-- +goose StatementEnd\n",
    },
    ("00005_more.sql", "-- +goose Up\nCREATE TABLE more ();\n"),
    "SELECT id, version_id, is_applied FROM {} ORDER BY id",
    _goose,
)
GOLANG_MIGRATE = Tool(
    "golang-migrate",
    {
        "000001_sources.up.sql": f"BEGIN;\n{TABLE}\nCOMMIT;\n",
        "000001_sources.down.sql": "DROP TABLE sources;\n",
        "000002_touch.up.sql": f"{FUNCTION}\n{TRIGGER}\n",
        "000003_kinds.up.sql": INDEX,
        "000004_made.up.sql": DYNAMIC,
    },
    ("000005_more.up.sql", "CREATE TABLE more ();\n"),
    "SELECT version, dirty FROM {}",
    _golang_migrate,
)
FLYWAY = Tool(
    "flyway",
    {
        "V1__sources.sql": TABLE,
        "V1_1__touch.sql": f"{FUNCTION}\n{TRIGGER}\n",
        "below/V002__kinds with spaces.sql": INDEX,
        "V10__made.sql": f"-- ${{flyway:filename}} ${{name}}\n{DYNAMIC}\n",
        "R__view_of_kinds.sql": "CREATE OR REPLACE VIEW kinds_of AS SELECT kind, '${NAME}' AS name FROM sources;\n",
    },
    ("V11__more.sql", "CREATE TABLE more ();\n"),
    "SELECT installed_rank, version, description, type, script, checksum, installed_by, success FROM {} ORDER BY 1",
    _flyway,
    lambda _: {"FLYWAY_PLACEHOLDERS_NAME": "value"},
)
DBMATE = Tool(
    "dbmate",
    {
        "001_sources.sql": f"-- migrate:up\n{TABLE}\n-- migrate:down\nDROP TABLE sources;\n",
        "002touch.sql": f"-- migrate:up\n{FUNCTION}\n{TRIGGER}\n-- migrate:down\n",
        "003_kinds.sql": f"-- migrate:up transaction:false\n{INDEX}\n-- migrate:down\n",
        "10_made.sql": f"-- migrate:up\n{DYNAMIC}\n-- migrate:down\n",
    },
    ("9_more.sql", "-- migrate:up\nCREATE TABLE more ();\n-- migrate:down\n"),
    "SELECT version FROM {} ORDER BY 1",
    _dbmate,
    lambda url: {"DATABASE_URL": f"{url}?sslmode=disable"},
)


def _revision(name: str, down: str, body: str) -> str:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"""from alembic import op
import sqlalchemy as sa

revision = {name!r}
down_revision = {down}


def upgrade() -> None:
{lines}


def downgrade() -> None:
    pass
"""


_ENV_PY = """import os
import sqlalchemy as sa
from alembic import context
engine = sa.create_engine(os.environ["SA_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, version_table=os.environ["VERSION_TABLE"], transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


def _alembic(what: str, folder: Path, table: str, url: str) -> Sequence[str | Path]:  # noqa: ARG001 - it is run there
    command = {"up": ["upgrade", "head"], "check": ["current", "--check-heads"]}.get(what, ["upgrade", what])
    url = url.replace("postgresql:", "postgresql+psycopg:")
    return ["env", f"SA_URL={url}", f"VERSION_TABLE={table}", Path(sys.executable).with_name("alembic"), *command]


ALEMBIC = Tool(
    "alembic",
    {
        "alembic.ini": "[alembic]\nscript_location = %(here)s\n",
        "env.py": _ENV_PY,
        "versions/aaa_sources.py": _revision(
            "aaa",
            "None",
            "op.create_table('sources', sa.Column('id', sa.BigInteger, primary_key=True), sa.Column('kind', sa.Text))",
        ),
        "versions/bbb_touch.py": _revision(
            "bbb", "'aaa'", f'op.execute("""{FUNCTION}""")\nop.execute("""{TRIGGER}""")'
        ),
        "versions/ccc_kinds.py": _revision(
            "ccc", "'aaa'", f'with op.get_context().autocommit_block():\n    op.execute("""{INDEX}""")'
        ),
        "versions/ddd_merge.py": _revision("ddd", "('bbb', 'ccc')", "pass"),
        "versions/eee_made.py": _revision("eee", "'ddd'", f'op.execute("""{DYNAMIC}""")'),
    },
    ("versions/fff_more.py", _revision("fff", "'eee'", "op.create_table('more', sa.Column('id', sa.Integer))")),
    "SELECT version_num FROM {}",
    _alembic,
)
TOOLS = [GOOSE, GOLANG_MIGRATE, FLYWAY, DBMATE, ALEMBIC]
