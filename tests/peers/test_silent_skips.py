"""The ways in which a tool skips a migration without a word: it does, and Mooring refuses or runs it.

The numbers are those of ../shared/reference/peer-formats.md, 1.7; 1 is in test_both_ways, 7 and 9 in tests/postgres.
"""

from __future__ import annotations

import pytest

from tests.peers.conftest import run
from tests.peers.tools import ALEMBIC, DBMATE, FLYWAY, GOLANG_MIGRATE, GOOSE, Tool
from tests.postgres.conftest import MakeService, Service


A, B, C = "CREATE TABLE a (id int);\n", "CREATE TABLE b (id int);\n", "CREATE TABLE c (id int);\n"


@pytest.fixture
def service(make_service: MakeService) -> Service:
    """A service without files yet."""
    return make_service()


def test_2_a_number_below_the_current_one(service: Service) -> None:
    service.put("1_a.up.sql", A)
    service.put("3_c.up.sql", C)
    assert service.mooring().code == 0
    service.put("2_b.up.sql", B)
    GOLANG_MIGRATE.must(service.folder, service.database)
    assert "b" not in service.database.tables()
    outcome = service.mooring()
    assert (outcome.code, outcome.problems) == (21, ["2_b.up.sql is numbered below 3, which ran already"])
    assert service.mooring(OUT_OF_ORDER="2").code == 0
    assert "b" in service.database.tables()


def test_3_a_baseline_that_skips_the_first_version(service: Service) -> None:
    service.put("V1__a.sql", A)
    service.put("V2__b.sql", B)
    service.database.sql("CREATE TABLE of_another_service ()")
    options = list(FLYWAY.commands("up", service.folder, FLYWAY.table, service.database.url))
    run(*options[:-1], "-baselineOnMigrate=true", options[-1])
    assert service.database.tables() >= {"b"}
    assert "a" not in service.database.tables()
    outcome = service.mooring()
    assert outcome.code == 22
    assert outcome.problems == [
        "flyway_ingestion is another service's: it records the versions 1, 2, but what ingestion makes with them is not"
        " there: a (V1__a.sql)"
    ]


@pytest.mark.parametrize(
    ("tool", "good", "bad"),
    [
        (GOLANG_MIGRATE, ("1_a.up.sql", A), "002_b.sql"),
        (FLYWAY, ("V1__a.sql", A), "V2_single_underscore.sql"),
        (FLYWAY, ("V1__a.sql", A), "v2__lower_case.sql"),
        (DBMATE, ("1_a.sql", f"-- migrate:up\n{A}-- migrate:down\n"), "b_without_number.sql"),
        (GOOSE, ("1_a.sql", f"-- +goose Up\n{A}"), "2_b.SQL"),
    ],
    ids=lambda value: value.format if isinstance(value, Tool) else value if isinstance(value, str) else "",
)
def test_4_and_5_a_name_that_does_not_match(service: Service, tool: Tool, good: tuple[str, str], bad: str) -> None:
    service.put(*good)
    service.put(bad, good[1].replace(" a ", " b "))
    tool.must(service.folder, service.database)
    assert "b" not in service.database.tables()
    outcome = service.mooring()
    assert outcome.code == 20
    assert [problem for problem in outcome.problems if problem.startswith(f"{bad}: ")]
    assert service.mooring(IGNORE=bad).code == 0


@pytest.mark.parametrize("tool", [GOOSE, GOLANG_MIGRATE, DBMATE], ids=lambda tool: tool.format)
def test_5_a_sub_folder(service: Service, tool: Tool) -> None:
    name, text = next(iter(tool.files.items()))
    service.put(name, text)
    service.put(f"more/{name}", text.replace("sources", "b"))
    tool.must(service.folder, service.database)
    assert "b" not in service.database.tables()
    outcome = service.mooring()
    assert outcome.code == 20
    assert outcome.problems == [
        f"more/: {tool.format} reads no sub-folders; move its files up, or set MOORING_IGNORE=more"
    ]


def test_6_a_dotted_table_name_that_becomes_a_literal_one(service: Service) -> None:
    service.put("1_a.up.sql", A)
    assert GOLANG_MIGRATE.run(service.folder, service.database, table="public.versions").returncode == 0
    outcome = service.mooring(VERSION_TABLE="public.versions")
    assert outcome.code == 22
    assert outcome.problems == [
        'there is no public.versions, but there is public."public.versions": to start with a new table would run every'
        " migration again"
    ]
    assert service.mooring(VERSION_TABLE='public."public.versions"').event("done")["adopted"] == 1


def test_8_a_version_that_was_forced_and_never_ran(service: Service) -> None:
    service.put("1_a.up.sql", A)
    service.put("2_b.up.sql", B)
    command = list(GOLANG_MIGRATE.commands("up", service.folder, GOLANG_MIGRATE.table, service.database.url))
    run(*command[:-1], "force", "2")
    GOLANG_MIGRATE.must(service.folder, service.database)
    assert service.database.tables() == set()
    assert service.mooring().code == 22


def test_8_a_revision_that_was_stamped_and_never_ran(service: Service) -> None:
    for name, text in ALEMBIC.files.items():
        service.put(name, text)
    command = list(ALEMBIC.commands("up", service.folder, ALEMBIC.table, service.database.url))
    environment = dict(one.split("=", 1) for one in map(str, command[1:3]))
    run("sh", "-c", f"cd {service.folder} && {command[3]} stamp head", **environment)
    ALEMBIC.must(service.folder, service.database)
    assert service.database.tables() == set()
    outcome = service.mooring()
    assert outcome.code == 22
    assert "sources (aaa_sources.py)" in outcome.problems[0]


def test_10_two_tools_on_one_default_table(service: Service, make_service: MakeService) -> None:
    service.put("1_a.up.sql", A)
    GOLANG_MIGRATE.must(service.folder, service.database)
    other = make_service("eventhandler")
    other.put("1_b.sql", f"-- migrate:up\n{B}-- migrate:down\n")
    table = GOLANG_MIGRATE.table
    assert "Applied" not in DBMATE.run(other.folder, service.database, table=table).stdout
    outcome = other.mooring(VERSION_TABLE=table)
    assert outcome.code == 22
    assert outcome.problems == [f"{table} has the columns version, dirty: it is no dbmate version table"]


def test_12_a_second_section(service: Service) -> None:
    section = "-- migrate:up\nCREATE TABLE {} ();\n-- migrate:down\nDROP TABLE {};\n"
    service.put("1_a.sql", section.format("a", "a") + section.format("b", "b"))
    assert DBMATE.run(service.folder, service.database, table="dbmate_other").returncode != 0
    assert "b" not in service.database.tables(), "dbmate leaves it half done"
    service.database.sql("DROP TABLE a")
    assert service.mooring().code == 0
    assert {"a", "b"} <= service.database.tables()


def test_a_dirty_row_says_how_to_get_out(service: Service) -> None:
    service.put("1_a.up.sql", A)
    service.put("2_b.up.sql", "CREATE TABLE b (); SELECT 1/0;")
    assert GOLANG_MIGRATE.run(service.folder, service.database).returncode == 1
    outcome = service.mooring()
    assert outcome.code == 31
    assert outcome.problems == ["golang-migrate began version 2 and did not end it: its row is dirty"]
    hint = outcome.event("failed")["hint"]
    assert hint.startswith("See what of version 2 is in the database. If nothing is, say so with: migrate … force 1")
    command = list(GOLANG_MIGRATE.commands("up", service.folder, GOLANG_MIGRATE.table, service.database.url))
    run(*command[:-1], "force", "1")
    service.put("2_b.up.sql", B)
    assert service.mooring().code == 0


def test_a_file_that_commits_in_the_middle_is_dirty_only_meanwhile(service: Service) -> None:
    service.put("1_a.up.sql", "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nSELECT 1/0;\nCOMMIT;\n")
    assert service.mooring().code == 30
    assert service.database.sql(f"SELECT * FROM {GOLANG_MIGRATE.table}") == [(1, True)]
    service.put("1_a.up.sql", "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nSELECT 1;\nCOMMIT;\n")
    assert service.mooring().code == 31, "the file has changed since its first half ran"
    service.put("1_a.up.sql", "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nSELECT 1/0;\nCOMMIT;\n")
    service.database.sql("CREATE FUNCTION ok() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert service.mooring().code == 30


def test_a_failed_row_of_flyway_says_how_to_get_out(service: Service) -> None:
    service.put("V1__a.sql", A)
    service.put("V2__b.sql", "CREATE INDEX CONCURRENTLY b ON nowhere (x);")
    assert FLYWAY.run(service.folder, service.database).returncode == 1
    outcome = service.mooring()
    assert outcome.code == 31
    assert outcome.problems == ["Flyway began 2 and it failed: the history says so"]
    assert "flyway repair" in outcome.event("failed")["hint"]


def test_a_changed_file_differs_by_flyways_own_checksum(service: Service) -> None:
    service.put("V1__a.sql", A)
    FLYWAY.must(service.folder, service.database)
    service.put("V1__a.sql", A + "-- more\n")
    outcome = service.mooring()
    assert outcome.code == 22
    assert "is not the file that Flyway ran as version 1: its checksum is" in outcome.problems[0]


def test_a_repeatable_runs_again_when_it_changes(service: Service) -> None:
    service.put("V1__a.sql", A)
    service.put("R__view.sql", "CREATE OR REPLACE VIEW v AS SELECT 1 AS x;\n")
    assert service.mooring().event("done")["applied"] == 2
    assert service.mooring().event("done")["applied"] == 0
    service.put("R__view.sql", "CREATE OR REPLACE VIEW v AS SELECT 2 AS x;\n")
    assert service.mooring().event("done")["applied"] == 1
    assert service.database.sql("SELECT x FROM v") == [(2,)]
    assert "Current version of schema" in FLYWAY.must(service.folder, service.database)
    assert service.mooring().event("done")["adopted"] == 0
