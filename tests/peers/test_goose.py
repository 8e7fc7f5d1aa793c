"""goose and Mooring, one after the other on the same folder and the same table."""

from __future__ import annotations

import re

import pytest

from tests.peers.conftest import run, schema
from tests.peers.tools import BINARIES
from tests.postgres.conftest import Database, MakeDatabase, MakeService, Service


TABLE = "goose_ingestion"
FILES = {
    "_00001_create_sources": "CREATE TABLE sources (id bigserial PRIMARY KEY, kind text);",
    "_00002_function": """-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.kind := coalesce(NEW.kind, 'none');
  RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER touch BEFORE INSERT ON sources FOR EACH ROW EXECUTE FUNCTION touch();
-- +goose Down
DROP TRIGGER touch ON sources;
DROP FUNCTION touch;
""",
    "_00003_index": """-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY kinds ON sources (kind);
VACUUM sources;
""",
    "_00004_enum": "CREATE TYPE mood AS ENUM ('good');\nALTER TABLE sources ADD mood mood DEFAULT 'good';",
    "_00005_dynamic": """-- +goose Up
-- +goose StatementBegin
DO $$ BEGIN EXECUTE 'CREATE TABLE made ()'; END $$;
-- +goose StatementEnd
""",
    "_00006_rename": "ALTER TABLE made RENAME TO remade; DROP TABLE IF EXISTS nothing;",
}


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service(**FILES)


def goose(service: Service, *command: str) -> str:
    """What goose says, without the time."""
    options = ("-dir", service.folder, "-table", TABLE, "postgres", service.database.url)
    output = run(BINARIES / "goose", *options, *(command or ("up",)))
    return re.sub(r"^\S+ \S+ ", "", output.strip().splitlines()[-1])


def rows(database: Database) -> list[tuple[int, int, bool]]:
    return database.sql(f"SELECT id, version_id, is_applied FROM {TABLE} ORDER BY id")


def test_mooring_adopts_what_goose_applied(service: Service) -> None:
    goose(service)
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"], outcome.event("done")["adopted"]) == (0, 0, 6)


def test_goose_finds_nothing_to_do_after_mooring(service: Service) -> None:
    assert service.mooring().code == 0
    assert goose(service) == "goose: no migrations to run. current version: 6"
    assert "Pending" not in goose(service, "status")
    assert service.mooring().event("done")["adopted"] == 0


@pytest.mark.parametrize("half", [1, 3, 5])
def test_each_goes_on_from_where_the_other_stopped(service: Service, half: int) -> None:
    goose(service, "up-to", str(half))
    outcome = service.mooring()
    assert (outcome.code, outcome.event("done")["applied"], outcome.event("done")["adopted"]) == (0, 6 - half, half)
    service.write(_00007_more="CREATE TABLE more ();")
    assert goose(service) == "goose: successfully migrated database to version: 7"
    assert service.mooring().event("done")["adopted"] == 1


def test_both_leave_the_same_schema_and_the_same_rows(service: Service, make_database: MakeDatabase) -> None:
    goose(service)
    by_goose = service.database
    service.database = make_database()
    assert service.mooring().code == 0
    assert schema(service.database) == schema(by_goose)
    assert rows(service.database) == rows(by_goose)


def test_what_goose_rolls_back_runs_again(service: Service) -> None:
    service.write(_00007_more="-- +goose Up\nCREATE TABLE more ();\n-- +goose Down\nDROP TABLE more;\n")
    assert service.mooring().code == 0
    goose(service, "down")
    assert service.mooring().event("done")["applied"] == 1
    assert goose(service) == "goose: no migrations to run. current version: 7"


def test_the_failure_of_the_mission_with_the_real_goose(service: Service, make_service: MakeService) -> None:
    """goose takes another service's files for applied; Mooring, pointed at the same table, says whose it is."""
    goose(service)
    other = make_service(
        "eventhandler", _00001_events="CREATE TABLE events ();", _00002_more="CREATE TABLE handlers ();"
    )
    assert goose(other) == "goose: no migrations to run. current version: 6"
    outcome = other.mooring(VERSION_TABLE=TABLE)
    assert outcome.code == 22
    assert outcome.last_word.startswith(
        f"exit 22: {TABLE} is another service's: it records the versions 1, 2, but what"
    )
