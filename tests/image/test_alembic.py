"""The image for Alembic's revisions, which are programs, at work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.image.docker import Server, built, docker, layers, python


MEGABYTE = 1_000_000


def _revision(version: str, down: str, body: str, *head: str) -> str:
    """A revision's file, with further lines at its head."""
    first = "\n".join(["import sqlalchemy as sa", "from alembic import op", *head])
    return f"{first}\n\nrevision = {version!r}\ndown_revision = {down}\n\n\ndef upgrade():\n    {body}\n"


def _table(name: str) -> str:
    return f"op.create_table('{name}', sa.Column('id', sa.BigInteger, primary_key=True))"


GRAPH = {
    "versions/a1_orders.py": _revision("a1", "None", _table("orders")),
    "versions/b1_items.py": _revision("b1", "'a1'", _table("items")),
    "versions/c1_stock.py": _revision("c1", "'a1'", _table("stock")),
    "versions/c2_index.py": _revision(
        "c2",
        "'c1'",
        "with op.get_context().autocommit_block():\n"
        "        op.create_index('items_of', 'items', ['id'], postgresql_concurrently=True)",
        "depends_on = 'b1'",
    ),
    "versions/d1_merge.py": _revision("d1", "('b1', 'c2')", "pass"),
}
ORDERS = {"versions/a1_orders.py": GRAPH["versions/a1_orders.py"]}
# As `alembic init` writes it, without its comments and its offline mode.
STOCK_ENV_PY = """\
from logging.config import fileConfig

from sqlalchemy import engine_from_config
from sqlalchemy import pool

from alembic import context

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)
target_metadata = None

connectable = engine_from_config(
    config.get_section(config.config_ini_section, {}),
    prefix="sqlalchemy.",
    poolclass=pool.NullPool,
)
with connectable.connect() as connection:
    context.configure(connection=connection, target_metadata=target_metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
# As in the cookbook of Alembic's documentation, "Sharing a Connection".
SHARING_ENV_PY = """\
from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""


def _service(folder: Path, base: str, files: Mapping[str, str], *lines: str) -> AbstractContextManager[str]:
    """The image of a service with these files of Alembic's, and further lines in its Dockerfile."""
    for name, text in files.items():
        path = folder / "alembic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    dockerfile = [f"FROM {base}", "COPY alembic /migrations", *lines]
    (folder / "Dockerfile").write_text("\n".join(dockerfile), encoding="utf-8")
    return built(folder)


def _tables(server: Server, database: str) -> list[str]:
    return server.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", database)


@pytest.mark.skipif("TEST_IMAGE" in os.environ, reason="TEST_IMAGE names an image of another build")
def test_it_is_the_plain_image_and_one_layer(image: str, alembic_image: str) -> None:
    assert layers(alembic_image)[:-1] == layers(image)


def test_it_is_at_most_20_megabytes_more(image: str, alembic_image: str) -> None:
    plain, more = (int(docker("inspect", "--format={{.Size}}", name)) for name in (image, alembic_image))
    assert more - plain <= 20 * MEGABYTE


def test_it_has_the_standard_library(alembic_image: str) -> None:
    """Whatever programs use, and the plain image leaves out; not what only people at a terminal and Python's developers do."""
    script = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.stdlib_module_names if name[0] != "_" and not importlib.util.find_spec(name)]))
"""
    at_a_terminal = {"antigravity", "curses", "idlelib", "pydoc_data", "readline", "this", "tkinter"}
    for_developers = {"ensurepip", "turtle", "turtledemo", "venv"}
    of_other_systems = {"msvcrt", "nt", "nturl2path", "winreg", "winsound"}
    assert set(json.loads(python(alembic_image, script))) == at_a_terminal | for_developers | of_other_systems


def test_it_runs_branches_merges_dependencies_and_autocommit_blocks(
    alembic_image: str, server: Server, database: str, tmp_path: Path
) -> None:
    """Each revision once, parents before children, without an env.py."""
    with _service(tmp_path, alembic_image, GRAPH) as service:
        first, second = server.up(service, database), server.up(service, database)
    assert (first.code, second.code) == (0, 0)
    order = [event["version"] for event in first.events if event["event"] == "applied"]
    assert sorted(order) == ["a1", "b1", "c1", "c2", "d1"]
    assert order[0] == "a1"
    assert order[-2:] == ["c2", "d1"]
    assert [event["event"] for event in second.events] == ["started", "done"]
    assert server.psql("SELECT version_num FROM alembic_ingestion", database) == ["d1"]
    assert _tables(server, database) == [
        *("alembic_ingestion", "alembic_ingestion_ledger", "items", "orders", "stock"),
    ]
    assert server.psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_of'::regclass", database) == ["t"]


@pytest.mark.parametrize("env_py", [STOCK_ENV_PY, SHARING_ENV_PY], ids=["stock", "sharing Mooring's connection"])
def test_it_runs_them_through_an_env_py(
    alembic_image: str, server: Server, database: str, tmp_path: Path, env_py: str
) -> None:
    """One that connects by itself finds where in its options; the version table and the ledger are Mooring's all the same."""
    with _service(tmp_path, alembic_image, GRAPH | {"env.py": env_py}) as service:
        ended = server.up(service, database, env_py="true")
        server.psql("DROP TABLE stock", database)
        proof = server.up(service, database, env_py="true")
    assert ended.code == 0, ended.output
    assert server.psql("SELECT version_num FROM alembic_ingestion", database) == ["d1"]
    # Only the ledger knows of the table, and only if it has seen the transaction of the revision.
    assert proof.code == 50, proof.output
    assert "stock" in proof.events[-1]["problems"][0]


def test_an_env_py_that_nobody_asks_for_does_not_run(
    alembic_image: str, server: Server, database: str, tmp_path: Path
) -> None:
    """What it would import is mostly not in the image."""
    with _service(tmp_path, alembic_image, ORDERS | {"env.py": "import shop.models\n"}) as service:
        assert server.up(service, database).code == 0


def test_a_revision_that_imports_what_is_not_there_is_exit_code_20(
    alembic_image: str, server: Server, database: str, tmp_path: Path
) -> None:
    """With what it imports, and where; no revision has run."""
    files = ORDERS | {"versions/b1_items.py": _revision("b1", "'a1'", _table("items"), "import shop.models")}
    with _service(tmp_path, alembic_image, files) as service:
        ended = server.up(service, database)
    assert ended.code == 20
    assert ended.events[-1]["problems"] == ["b1_items.py:3: ModuleNotFoundError: No module named 'shop'"]
    assert ended.events[-1]["hint"] == (
        "Mooring runs revisions without the application. Let the revision not import it, or add to the image what it"
        " imports."
    )
    assert "orders" not in _tables(server, database)


def test_a_revision_finds_packages_that_the_service_adds(
    alembic_image: str, server: Server, database: str, tmp_path: Path
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/models.py").write_text("NAME = 'customers'\n", encoding="utf-8")
    files = {"versions/a1_customers.py": _revision("a1", "None", _table("customers"), "import shop.models")}
    with _service(tmp_path, alembic_image, files, "COPY shop /packages/shop") as service:
        ended = server.up(service, database)
    assert ended.code == 0, ended.output
    assert "customers" in _tables(server, database)


def test_a_package_that_the_service_adds_takes_the_place_of_none_of_moorings(
    alembic_image: str, server: Server, database: str, tmp_path: Path
) -> None:
    """Such as another pydantic, which an application has among its own requirements."""
    (tmp_path / "pydantic").mkdir()
    (tmp_path / "pydantic/__init__.py").write_text("raise SystemExit('the wrong one')\n", encoding="utf-8")
    with _service(tmp_path, alembic_image, ORDERS, "COPY pydantic /packages/pydantic") as service:
        ended = server.up(service, database)
    assert ended.code == 0, ended.output + ended.errors


def test_the_plain_image_names_the_one_for_alembic(image: str, server: Server, database: str, tmp_path: Path) -> None:
    with _service(tmp_path, image, ORDERS) as service:
        ended = server.up(service, database)
    assert ended.code == 20
    assert ended.events[-1]["problems"] == ["these are Alembic revisions, and sqlalchemy is not installed"]
    assert ended.events[-1]["hint"] == (
        "Build the service's image FROM mooring-alembic, or pip install 'mooring[alembic]'."
    )
