"""The image under test, a service's image on top of it, and a server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.docker import ROOT, Server, built, postgres


MIGRATIONS = {
    "00001_create_sources.sql": "-- +goose Up\nCREATE TABLE sources (id bigint PRIMARY KEY, url text NOT NULL);\n",
    "00002_create_readings.sql": "-- +goose Up\nCREATE TABLE readings (source bigint REFERENCES sources, value numeric);\n",
}


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Mooring's image: the one that TEST_IMAGE names, or else one built from this checkout."""
    missing = [tool for tool in ("docker", "openssl") if not shutil.which(tool)]
    if missing:
        pytest.fail(f"not on PATH: {', '.join(missing)}")
    name = os.environ.get("TEST_IMAGE")
    if name:
        yield name
    else:
        with built(ROOT) as name:
            yield name


@pytest.fixture(scope="session")
def alembic_image() -> Iterator[str]:
    """The image for Alembic's revisions, built from this checkout."""
    with built(ROOT, "--target=mooring-alembic") as name:
        yield name


@pytest.fixture(scope="session", params=["image", "alembic_image"], ids=["mooring", "mooring-alembic"])
def each_image(request: pytest.FixtureRequest) -> str:
    """Each of the images, for what holds for both."""
    name: str = request.getfixturevalue(request.param)
    return name


@pytest.fixture(scope="session")
def service(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service's image, built as its team would."""
    context = tmp_path_factory.mktemp("service")
    (context / "Dockerfile").write_text(f"FROM {image}\nCOPY migrations /migrations\n", encoding="utf-8")
    (context / "migrations").mkdir()
    for name, text in MIGRATIONS.items():
        (context / "migrations" / name).write_text(text, encoding="utf-8")
    with built(context) as name:
        yield name


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """PostgreSQL in a container beside the image's."""
    with postgres(tmp_path_factory.mktemp("certificates")) as server:
        yield server


@pytest.fixture
def database(server: Server) -> str:
    """The name of an empty database of that server."""
    return server.database()


@pytest.fixture
def last_word(tmp_path: Path) -> Path:
    """A termination log, as the kubelet puts one into a container."""
    path = tmp_path / "termination-log"
    path.touch()
    path.chmod(0o666)
    return path
