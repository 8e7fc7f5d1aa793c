"""A server that crashes after a run: what the run said is there, although most commits did not wait for the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mooring import embedded
from tests.faults.conftest import VERSIONS
from tests.faults.harness import pg_ctl
from tests.postgres.conftest import Database, MakeService
from tests.support import binaries_of


@pytest.fixture(scope="module", params=VERSIONS, ids="postgres-{}".format)
def crashing(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that, within a test, writes to the disk only what is waited for; and what makes it crash."""
    binaries = binaries_of(request.param)
    with embedded.server(request.param, {"wal_writer_delay": "10s"}, binaries) as url:
        [(data,)] = Database(f"{url}/postgres").sql("SHOW data_directory")
        yield url, lambda: pg_ctl(binaries, Path(data), "restart", "-m", "immediate")


@pytest.fixture(scope="module")
def server(crashing: tuple[str, Callable[[], None]]) -> str:
    """Its URL without a database."""
    return crashing[0]


@pytest.mark.parametrize(("third", "code", "kept"), [("SELECT 3;", 0, 3), ("SELECT nothing;", 30, 2)])
def test_what_a_run_kept_is_there_after_a_crash(
    make_service: MakeService, crashing: tuple[str, Callable[[], None]], third: str, code: int, kept: int
) -> None:
    service = make_service(_1_a="CREATE TABLE a ();", _2_b="SELECT 2;", _3_c=third)
    assert service.mooring().code == code
    crashing[1]()
    assert service.database.sql("SELECT max(version_id) FROM goose_ingestion") == [(kept,)]
    assert service.database.sql("SELECT count(*) FROM goose_ingestion_ledger WHERE version <> ''") == [(kept,)]
