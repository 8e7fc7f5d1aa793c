"""While a tool migrates, Mooring waits for it, and the other way round."""

from __future__ import annotations

import subprocess
import threading

import psycopg
import pytest

from tests.peers.tools import FLYWAY, GOLANG_MIGRATE, Tool
from tests.postgres.conftest import MakeService, Service, first_lines


BRAKE = "SELECT pg_advisory_xact_lock(77); CREATE TABLE slow ();"


@pytest.fixture(params=[GOLANG_MIGRATE, FLYWAY], ids=lambda tool: tool.format)
def tool(request: pytest.FixtureRequest) -> Tool:
    """Those that have a lock of their own for each version table."""
    tool: Tool = request.param
    return tool


@pytest.fixture
def service(tool: Tool, make_service: MakeService) -> Service:
    """A service whose only migration lasts as long as the test holds the brake."""
    service = make_service()
    service.put({"golang-migrate": "1_slow.up.sql", "flyway": "V1__slow.sql"}[tool.format], BRAKE)
    return service


def test_mooring_waits_for_the_tool(tool: Tool, service: Service) -> None:
    ended: list[subprocess.CompletedProcess[str]] = []
    with psycopg.connect(service.database.url, autocommit=True, application_name="brake") as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        running = threading.Thread(target=lambda: ended.append(tool.run(service.folder, service.database)))
        running.start()
        service.database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=180)
        ours = service.start()
        lines = first_lines(ours, 2)
    running.join()
    assert ended[0].returncode == 0, ended[0].stdout + ended[0].stderr
    assert '"event": "waiting for lock"' in lines[1]
    outcome = service.end(ours)
    assert (outcome.code, outcome.event("done")["applied"], outcome.event("done")["adopted"]) == (0, 0, 1)


def test_the_tool_waits_for_mooring(tool: Tool, service: Service) -> None:
    ended: list[subprocess.CompletedProcess[str]] = []
    with psycopg.connect(service.database.url, autocommit=True, application_name="brake") as brake:
        brake.execute("SELECT pg_advisory_lock(77)")
        ours = service.start()
        service.database.wait_for("EXISTS (SELECT FROM pg_locks WHERE objid = 77 AND NOT granted)", seconds=180)
        running = threading.Thread(target=lambda: ended.append(tool.run(service.folder, service.database)))
        running.start()
        service.database.wait_for(
            "EXISTS (SELECT FROM pg_stat_activity WHERE query ~ 'pg_(try_)?advisory_lock' AND pid <> pg_backend_pid()"
            " AND application_name IN ('', 'PostgreSQL JDBC Driver'))",
            seconds=180,
        )
        assert not ended, ended[0].stdout + ended[0].stderr
    outcome = service.end(ours)
    running.join()
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 1)
    assert ended[0].returncode == 0, ended[0].stdout + ended[0].stderr
    assert service.mooring().event("done")["adopted"] == 0
