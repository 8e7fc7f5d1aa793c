"""The tools that are measured: the same tables in each one's files, and the command that makes them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.peers.tools import BINARIES


ALEMBIC = Path(sys.executable).with_name("alembic")
MOORING = Path(sys.executable).with_name("mooring")
IMPORTS = "import psycopg, structlog; from pydantic_settings import BaseSettings"

Command = Sequence[str | Path]


class Place(NamedTuple):
    """A database."""

    port: int
    database: str
    password: str

    def url(self, scheme: str = "postgres") -> str:
        """Its URL."""
        return f"{scheme}://postgres:{self.password}@127.0.0.1:{self.port}/{self.database}"


class Tool(NamedTuple):
    """What is measured."""

    name: str
    files: Callable[[int], Mapping[str, str]]
    """A migration's files, by its number."""
    command: Callable[[Path, Place], tuple[Command, Mapping[str, str]]]
    """What applies a folder to a database, and with which environment."""

    def folder(self, root: Path, count: int) -> Path:
        """A folder of so many migrations."""
        folder = root / f"{self.name}-{count}"
        if not folder.exists():
            (folder / "versions").mkdir(parents=True)
            for number in range(1, count + 1):
                for name, text in self.files(number).items():
                    (folder / name).write_text(text, encoding="utf-8")
            if not any((folder / "versions").iterdir()):
                (folder / "versions").rmdir()
        return folder


def table(number: int) -> str:
    """What a migration does."""
    return (
        f"CREATE TABLE t{number} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,"
        " at timestamptz DEFAULT now());\n"
    )


def _goose_file(number: int) -> dict[str, str]:
    return {f"{number:05}_t.sql": f"-- +goose Up\n{table(number)}\n-- +goose Down\nDROP TABLE t{number};\n"}


def _revision(number: int) -> dict[str, str]:
    before = f"{number - 1:05}" if number > 1 else None
    text = f"from alembic import op\nrevision = '{number:05}'\ndown_revision = {before!r}\n\n\n"
    once = {
        "alembic.ini": "[alembic]\nscript_location = %(here)s\n",
        "env.py": "import os\nimport sqlalchemy\nfrom alembic import context\n"
        "with sqlalchemy.create_engine(os.environ['SA_URL']).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n        context.run_migrations()\n",
    }
    return {f"versions/{number:05}.py": f"{text}def upgrade():\n    op.execute({table(number)!r})\n"} | (
        once if number == 1 else {}
    )


def _mooring(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    return [MOORING, "up"], {
        "MOORING_SERVICE": "bench",
        "MOORING_MIGRATIONS": str(folder),
        "MOORING_DATABASE_URL": f"{place.url()}?sslmode=disable",
    }


def _goose(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    return [BINARIES / "goose", "-dir", folder, "-table", "goose_bench", "postgres", place.url(), "up"], {}


def _migrate(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    return [BINARIES / "migrate", "-path", folder, "-database", f"{place.url('pgx5')}?sslmode=disable", "up"], {}


def _dbmate(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    return [BINARIES / "dbmate", "--no-dump-schema", "-d", folder, "migrate"], {
        "DATABASE_URL": f"{place.url()}?sslmode=disable"
    }


def _flyway(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    where = f"-url=jdbc:postgresql://127.0.0.1:{place.port}/{place.database}"
    who = ["-user=postgres", f"-password={place.password}"]
    return [BINARIES / "flyway", where, *who, f"-locations=filesystem:{folder}", "migrate"], {}


def _alembic(folder: Path, place: Place) -> tuple[Command, Mapping[str, str]]:
    return [ALEMBIC, "-c", folder / "alembic.ini", "upgrade", "head"], {"SA_URL": place.url("postgresql+psycopg")}


GOOSE = Tool("goose", _goose_file, _goose)
OURS = Tool("Mooring", _goose_file, _mooring)
PEERS = [
    GOOSE,
    Tool(
        "golang-migrate",
        lambda number: {f"{number:05}_t.up.sql": table(number), f"{number:05}_t.down.sql": f"DROP TABLE t{number};\n"},
        _migrate,
    ),
    Tool(
        "dbmate",
        lambda number: {
            f"{number:05}_t.sql": f"-- migrate:up\n{table(number)}\n-- migrate:down\nDROP TABLE t{number};\n"
        },
        _dbmate,
    ),
    Tool("Alembic", _revision, _alembic),
    Tool("Flyway", lambda number: {f"V{number}__t.sql": table(number)}, _flyway),
]


def installed(*ours: Tool) -> list[Tool]:
    """The peers whose command is here, and ours."""
    place = Place(0, "", "")
    return [tool for tool in (*PEERS, *ours) if shutil.which(str(tool.command(Path(), place)[0][0]))]
