"""Each tool and Mooring, one after the other on the same folder and the same version table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.peers.conftest import schema
from tests.peers.tools import ALEMBIC, TOOLS, Tool
from tests.postgres.conftest import Database, MakeDatabase, MakeService, Service


@pytest.fixture(params=TOOLS, ids=lambda tool: tool.format)
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """The tool; what its environment needs, Mooring has too."""
    tool: Tool = request.param
    for name, value in tool.environment("").items():
        if name.startswith("FLYWAY_"):
            monkeypatch.setenv(name, value)
    return tool


@pytest.fixture
def service(tool: Tool, make_service: MakeService) -> Service:
    """A service with the tool's files."""
    service = make_service()
    for name, text in tool.files.items():
        service.put(name, text)
    return service


def rows(tool: Tool, database: Database) -> list[tuple[object, ...]]:
    """What the version table has."""
    return database.sql(tool.rows.format(tool.table))


def add(service: Service, tool: Tool) -> None:
    """Add the fifth migration."""
    service.put(*tool.more)


def hold_back(service: Service, tool: Tool, last: int) -> list[str]:
    """Take the last of the numbered migrations away for a while."""
    names = [name for name in tool.files if not name.startswith("R__")][-last:]
    for name in names:
        (service.folder.parent / Path(name).name).write_text((service.folder / name).read_text())
        (service.folder / name).unlink()
    return names


def give_back(service: Service, names: Sequence[str]) -> None:
    """Put them back."""
    for name in names:
        service.put(name, (service.folder.parent / Path(name).name).read_text())


def with_names(text: str, prefix: str) -> str:
    """A file whose tables, functions and indexes have other names, so that it can share a schema."""
    for word in ("sources", "touch", "kinds", "made"):
        text = text.replace(word, f"{prefix}_{word}")
    return text


def count(tool: Tool) -> int:
    """How many migrations the folder has."""
    return len([name for name in tool.files if ".down." not in name and name not in {"alembic.ini", "env.py"}])


def test_mooring_takes_over_what_the_tool_applied(tool: Tool, service: Service) -> None:
    tool.must(service.folder, service.database)
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"], outcome.event("done")["adopted"]) == (0, 0, count(tool))
    again = service.mooring()
    assert (again.code, again.event("done")["adopted"]) == (0, 0)


def test_the_tool_finds_nothing_to_do_after_mooring(tool: Tool, service: Service) -> None:
    assert service.mooring().event("done")["applied"] == count(tool)
    before = rows(tool, service.database)
    tool.must(service.folder, service.database)
    assert rows(tool, service.database) == before
    checked = tool.must(service.folder, service.database, "check")
    assert "Pending" not in checked.replace("Pending: 0", "")
    assert service.mooring().event("done")["adopted"] == 0


def test_both_leave_the_same_schema_and_the_same_rows(
    tool: Tool, service: Service, make_database: MakeDatabase
) -> None:
    tool.must(service.folder, service.database)
    by_tool = service.database
    service.database = make_database()
    assert service.mooring().code == 0
    assert schema(service.database) == schema(by_tool)
    assert rows(tool, service.database) == rows(tool, by_tool)


def test_the_tool_goes_on_from_mooring_and_mooring_from_the_tool(tool: Tool, service: Service) -> None:
    """The first half by one, the rest by the other, and one more by the first again."""
    [last] = hold_back(service, tool, 1)
    assert service.mooring().code == 0
    give_back(service, [last])
    tool.must(service.folder, service.database)
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"], outcome.event("done")["adopted"]) == (0, 0, 1)
    add(service, tool)
    settings = {"OUT_OF_ORDER": "9"} if tool.format == "dbmate" else {}
    outcome = service.mooring(**settings)
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 1)
    before = rows(tool, service.database)
    tool.must(service.folder, service.database)
    assert rows(tool, service.database) == before


def test_mooring_finishes_what_the_tool_began(tool: Tool, service: Service) -> None:
    held_back = hold_back(service, tool, 1 if tool is ALEMBIC else 2)  # without its merge, it would have two heads
    tool.must(service.folder, service.database)
    give_back(service, held_back)
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"]) == (0, len(held_back))
    assert service.mooring("verify").code == 0
    tool.must(service.folder, service.database)


def test_another_services_files_are_not_taken_for_applied(
    tool: Tool, service: Service, make_service: MakeService
) -> None:
    """The failure of the mission: what the tool says of it, and what Mooring says."""
    tool.must(service.folder, service.database)
    other = make_service("eventhandler")
    for name, text in tool.files.items():
        if ".down." not in name and not name.startswith("R__"):
            other.put(name.replace("sources", "events"), with_names(text, "t0"))
    assert tool.run(other.folder, service.database).returncode == 0 or tool.format == "flyway"
    assert "t0_sources" not in service.database.tables()
    outcome = other.mooring(VERSION_TABLE=tool.table)
    assert outcome.code == 22
    assert outcome.problems[0].startswith(f"{tool.table} is another service's: ")
    assert other.mooring().code == 0
    assert "t0_sources" in service.database.tables()


def test_ten_runners_of_five_services_at_once(make_service: MakeService) -> None:
    """One database, the same numbers, a tool each: every file runs once, and everything is there."""
    services = []
    for tool in TOOLS:
        name = tool.format.replace("-", "_")
        service = make_service(name)
        for file, text in tool.files.items():
            service.put(file, with_names(text, name))
        services.append((tool, service))
    os.environ["FLYWAY_PLACEHOLDERS_NAME"] = "value"
    try:
        runs = [(service, service.start(LOCK_WAIT="5m", WAIT="2m")) for _ in range(10) for _, service in services]
        outcomes = [(service, service.end(run)) for service, run in runs]
    finally:
        del os.environ["FLYWAY_PLACEHOLDERS_NAME"]
    assert [outcome.code for _, outcome in outcomes] == [0] * len(runs)
    for tool, service in services:
        assert sum(outcome.event("done")["applied"] for one, outcome in outcomes if one is service) == count(tool)
        assert service.mooring("verify").code == 0 or tool.format == "flyway"
