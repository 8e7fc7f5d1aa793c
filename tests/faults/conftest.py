"""Servers of the versions that are disturbed here, with what the tests on PostgreSQL have for databases and services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mooring import embedded
from tests.postgres.conftest import (  # noqa: F401 - fixtures for the tests of this folder
    database,
    eventhandler,
    ingestion,
    make_database,
    make_service,
)
from tests.support import binaries_of


VERSIONS = [15, 18]


@pytest.fixture(scope="session", params=VERSIONS, ids="postgres-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server's URL without a database."""
    with embedded.server(request.param, {"max_connections": "60"}, binaries_of(request.param)) as url:
        yield url
