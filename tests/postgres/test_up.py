"""The main job: two services, one database, and exit 0 only with proof."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pytest

from mooring.wire import Connection, Query, Row, exchange
from tests.postgres.conftest import Database, MakeService, Service


def spy_on_exchanges(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is sent from now on, a list for each round trip."""
    sent: list[list[str]] = []

    def spy(connection: Connection, queries: Iterable[Query]) -> Iterator[list[Row]]:
        queries = list(queries)
        sent.append([query.sql for query in queries])
        return exchange(connection, queries)

    for module in ("apply", "history", "wire"):
        monkeypatch.setattr(f"mooring.{module}.exchange", spy)
    return sent


def test_two_services_with_the_same_numbers_share_a_database(
    ingestion: Service, eventhandler: Service, database: Database
) -> None:
    assert ingestion.mooring().code == 0
    assert eventhandler.mooring().code == 0
    assert database.tables() == {"sources", "readings", "events", "handlers"}
    for table in ("goose_ingestion", "goose_eventhandler"):
        assert database.sql(f"SELECT version_id, is_applied FROM {table} ORDER BY id") == [
            (0, True),
            (1, True),
            (2, True),
        ]


def test_says_what_it_did_in_one_line(ingestion: Service) -> None:
    first = ingestion.mooring()
    assert re.fullmatch(r"ingestion 0→2: 2 applied in \d+ ms on goose_ingestion", first.last_word)
    assert first.event("done")["message"] == first.last_word
    second = ingestion.mooring()
    assert re.fullmatch(r"ingestion 2: nothing to do in \d+ ms on goose_ingestion", second.last_word)


def test_logs_an_event_for_each_migration_with_stable_keys(ingestion: Service) -> None:
    applied = [event for event in ingestion.mooring().events if event["event"] == "applied"]
    assert [list(event) for event in applied] == [
        ["timestamp", "level", "event", "service", "version_table", "file", "version", "duration_ms", "done", "of"]
    ] * 2
    assert [(event["version"], event["file"], event["done"], event["of"]) for event in applied] == [
        ("1", "00001_create_sources.sql", 1, 2),
        ("2", "00002_create_readings.sql", 2, 2),
    ]
    assert applied[0]["timestamp"].endswith("Z")


def test_console_form_shows_progress(ingestion: Service) -> None:
    output = ingestion.mooring(LOG_FORMAT="console").output
    assert re.sub(r"\d\d:\d\d:\d\d|=\d+|\d+ ms", "…", output).splitlines() == [
        "… started      format=goose files…",
        "… applied    00001_create_sources.sql  version… duration_ms… done… of…",
        "… applied    00002_create_readings.sql  version… duration_ms… done… of…",
        "… done       ingestion 0→2: 2 applied in … on goose_ingestion  duration_ms… applied… adopted… version…",
    ]


def test_nothing_to_do_asks_one_query_takes_no_lock_and_writes_nothing(
    ingestion: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingestion.mooring()
    before = database.sql("SELECT pg_current_wal_insert_lsn(), pg_current_xact_id_if_assigned()")
    sent = spy_on_exchanges(monkeypatch)
    assert ingestion.mooring().code == 0
    assert len(sent) == 1
    assert not any("advisory" in sql for sql in sent[0])
    assert database.sql("SELECT pg_current_wal_insert_lsn(), pg_current_xact_id_if_assigned()") == before


def test_a_later_file_is_applied_alone(ingestion: Service, database: Database) -> None:
    ingestion.mooring()
    ingestion.write(_00003_more="ALTER TABLE sources ADD COLUMN url text;")
    outcome = ingestion.mooring()
    assert [event["version"] for event in outcome.events if event["event"] == "applied"] == ["3"]
    assert "url" in {name for (name,) in database.sql("SELECT column_name FROM information_schema.columns")}


def test_a_database_ahead_of_the_image_is_no_error(ingestion: Service) -> None:
    ingestion.write(_00003_more="CREATE TABLE more ();")
    ingestion.mooring()
    (ingestion.folder / "00003_more.sql").unlink()
    outcome = ingestion.mooring()
    assert outcome.code == 0
    assert outcome.event("database is ahead")["versions"] == ["3"]


def test_an_unqualified_table_is_made_where_the_search_path_leads(
    make_service: MakeService, database: Database
) -> None:
    database.sql("CREATE SCHEMA app; CREATE ROLE app_user LOGIN; GRANT ALL ON SCHEMA app TO app_user;")
    name = database.url.rpartition("/")[2]
    database.sql(f"ALTER ROLE app_user IN DATABASE {name} SET search_path = app")
    service = make_service("orders", _1_a="CREATE TABLE orders ();")
    url = database.url.replace("postgres@", "app_user@")
    assert service.mooring(DATABASE_URL=url).code == 0
    assert service.mooring(DATABASE_URL=url).last_word.endswith("on app.goose_orders")
    tables = database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'app' ORDER BY 1")
    assert tables == [("goose_orders",), ("goose_orders_ledger",), ("orders",)]


def test_odd_names_are_quoted(ingestion: Service, database: Database) -> None:
    database.sql('CREATE SCHEMA "My.Schema"')
    table = '"My.Schema"."Versions of ""us"""'
    for _ in range(2):
        outcome = ingestion.mooring(SERVICE='Ingestion; it\'s \\ "odd"', VERSION_TABLE=table)
        assert outcome.code == 0
    assert database.sql(f"SELECT count(*) FROM {table}") == [(3,)]
    owner = database.sql('SELECT DISTINCT service FROM "My.Schema"."Versions of ""us""_ledger"')
    assert owner == [('Ingestion; it\'s \\ "odd"',)]


def test_a_version_of_nineteen_digits(make_service: MakeService, database: Database) -> None:
    service = make_service(_9223372036854775807_last="CREATE TABLE last ();")
    assert service.mooring().code == 0
    assert database.sql("SELECT max(version_id) FROM goose_ingestion") == [(9223372036854775807,)]


def test_a_file_of_five_megabytes(make_service: MakeService, database: Database) -> None:
    row = "(1, 'it''s a row; with a semicolon')"
    insert = f"INSERT INTO big VALUES {','.join([row] * 1000)};\n"
    service = make_service(_1_big="CREATE TABLE big (a int, b text);\n" + insert * 150)
    assert (service.folder / "1_big.sql").stat().st_size > 5_000_000
    assert service.mooring().code == 0
    assert database.sql("SELECT count(*) FROM big") == [(150_000,)]


def test_two_hundred_files_go_out_in_few_round_trips(
    make_service: MakeService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(**{f"_{n:05}_t": f"CREATE TABLE t{n} (id int PRIMARY KEY);" for n in range(1, 201)})
    exchanges = spy_on_exchanges(monkeypatch)
    assert service.mooring().code == 0
    assert len(exchanges) <= 12
    assert len(database.tables()) == 200
    assert database.sql("SELECT count(*) FROM goose_ingestion_ledger WHERE cardinality(tables) = 1") == [(200,)]
