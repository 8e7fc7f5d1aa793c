"""Each tool and Mooring, one after the other on the same folder and the same version table."""

from __future__ import annotations

import os

import pytest

from tests.peers.conftest import schema
from tests.peers.tools import TOOLS, Tool
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


def count(tool: Tool) -> int:
    """How many migrations the folder has."""
    return len([name for name in tool.files if ".down." not in name])


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
    last = sorted(tool.files)[-1] if tool.format != "flyway" else "V10__made.sql"
    (service.folder / last).rename(service.folder.parent / last)
    assert service.mooring().code == 0
    (service.folder.parent / last).rename(service.folder / last)
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
    names = sorted(tool.files)
    held_back = names[len(names) // 2 :] if tool.format != "flyway" else ["V10__made.sql"]
    for name in held_back:
        (service.folder / name).rename(service.folder.parent / name)
    tool.must(service.folder, service.database)
    for name in held_back:
        (service.folder.parent / name).rename(service.folder / name)
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
    names = [name for name in tool.files if ".down." not in name and not name.startswith("R__")]
    for name in names:
        text = tool.files[names[0]].replace("sources", f"t{names.index(name)}")
        other.put(name.replace("sources", "events"), text)
    assert tool.run(other.folder, service.database).returncode == 0 or tool.format == "flyway"
    assert "t0" not in service.database.tables()
    outcome = other.mooring(VERSION_TABLE=tool.table)
    assert outcome.code == 22
    assert outcome.problems[0].startswith(f"{tool.table} is another service's: ")
    assert other.mooring().code == 0
    assert "t0" in service.database.tables()


def test_ten_runners_of_five_services_at_once(make_service: MakeService, database: Database) -> None:
    """One database, the same numbers, a tool each: every file runs once, and everything is there."""
    services = []
    for tool in TOOLS:
        name = tool.format.replace("-", "_")
        service = make_service(name)
        for file, text in tool.files.items():
            for word in ("sources", "touch", "kinds", "made"):
                text = text.replace(word, f"{name}_{word}")  # noqa: PLW2901 - names of its own in the shared schema
            service.put(file, text)
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
