"""PgBouncer, the real one: a pool of sessions works; a pool that gives sessions away is refused before anything is locked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from tests.faults.pgbouncer import PgBouncer, pgbouncer
from tests.postgres.conftest import Database, MakeService, Outcome, Service


NO_TRANSACTION = "-- +goose NO TRANSACTION\n-- +goose Up\n"
PROBLEM = (
    "there is a connection pooler in between that gives every transaction another server connection, and a session's lock"
    " cannot live there"
)


@pytest.fixture(params=["transaction", "statement"])
def giving(request: pytest.FixtureRequest, server: str) -> Iterator[PgBouncer]:
    """A PgBouncer that gives a server connection to another client after each transaction, or each statement."""
    with pgbouncer(server, request.param) as pooler:
        yield pooler


@pytest.fixture
def session(server: str) -> Iterator[PgBouncer]:
    """A PgBouncer in session mode."""
    with pgbouncer(server) as pooler:
        yield pooler


def name_of(database: Database) -> str:
    return database.url.rpartition("/")[2]


def refused(outcome: Outcome, pooler: PgBouncer) -> None:
    """It ended with 10, and said which address to use."""
    assert outcome.code == 10
    assert outcome.problems == [PROBLEM]
    hint = outcome.event("failed")["hint"]
    assert hint == (
        "Give MOORING_DATABASE_URL (or PGHOST and PGPORT) the server's own address, which the pooler reaches as"
        f" 127.0.0.1:{pooler.server_port}, or a pool in session mode."
    )
    assert outcome.last_word == f"exit 10: {PROBLEM}. {hint}"


def nothing_happened(database: Database) -> None:
    """No table was made, and nobody has a lock."""
    assert database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    assert database.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'") == []


def test_a_pool_of_sessions_runs_files_of_every_kind(
    make_service: MakeService, database: Database, session: PgBouncer
) -> None:
    """Transactional, non-transactional, with settings, and with a statement prepared by name."""
    service = make_service(
        _1_a="CREATE TABLE a (x int);\nPREPARE put AS INSERT INTO a VALUES ($1);\nEXECUTE put (1);",
        _2_b=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_x ON a (x);\nVACUUM a;",
        _3_c="SET lock_timeout = 0;\nINSERT INTO a VALUES (2), (3);",
    )
    for applied in (3, 0):
        outcome = service.mooring(DATABASE_URL=session.url(name_of(database)))
        assert (outcome.code, outcome.event("done")["applied"]) == (0, applied), outcome.output
    assert database.sql("SELECT x FROM a ORDER BY x") == [(1,), (2,), (3,)]


def test_a_pool_of_one_session_that_another_client_had_works(
    make_service: MakeService, database: Database, session: PgBouncer
) -> None:
    """What it prepared, set and locked is discarded by PgBouncer, and Mooring relies on nothing of it."""
    url = session.url(name_of(database))
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("PREPARE put AS SELECT 1")
        other.execute("SET search_path = nowhere")
        other.execute("SET statement_timeout = 1")
    service = make_service(_1_a="CREATE TABLE a (x int);\nPREPARE put AS INSERT INTO a VALUES (1);\nEXECUTE put;")
    assert service.mooring(DATABASE_URL=url).code == 0
    assert database.sql("SELECT x FROM public.a") == [(1,)]


@pytest.mark.parametrize("ends_with", [0, 30])
def test_a_session_goes_back_to_its_pool_without_lock_and_settings(
    make_service: MakeService, database: Database, server: str, ends_with: int
) -> None:
    """PgBouncer resets it anyway, unless it was told not to, as other poolers do not."""
    nobody = f"nobody_{name_of(database)}"
    database.sql(f"CREATE ROLE {nobody}")
    service = make_service(_1_a="CREATE TABLE a ();", _2_b=f"SET SESSION AUTHORIZATION {nobody};")
    if ends_with:
        service.write(_3_c="CREATE nonsense;")
    with pgbouncer(server, server_reset_query="") as pooler:
        url = pooler.url(name_of(database))
        assert service.mooring(DATABASE_URL=url).code == ends_with
        with psycopg.connect(url, autocommit=True) as other:
            assert other.execute("SELECT current_user::text").fetchone() == ("postgres",)
            settings = "SELECT name FROM pg_settings WHERE source = 'session' AND name ~ 'timeout|tcp|read_only'"
            assert other.execute(settings.encode()).fetchall() == []
            assert other.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'").fetchall() == []


def test_startup_options_that_a_pooler_refuses_are_never_sent(
    ingestion: Service, database: Database, session: PgBouncer
) -> None:
    """PgBouncer ends a connection that asks for more than it knows; its log has no such ending."""
    assert ingestion.mooring(DATABASE_URL=session.url(name_of(database))).code == 0
    assert "unsupported startup parameter" not in session.log()


def test_a_pool_that_gives_sessions_away_is_refused(ingestion: Service, database: Database, giving: PgBouncer) -> None:
    refused(ingestion.mooring(DATABASE_URL=giving.url(name_of(database))), giving)
    nothing_happened(database)


def test_a_pool_that_gives_the_only_session_away_is_refused(
    ingestion: Service, database: Database, server: str
) -> None:
    """Every probe gets the server connection that Mooring had, or waits for it."""
    with pgbouncer(server, "transaction", default_pool_size=1) as pooler:
        refused(ingestion.mooring(DATABASE_URL=pooler.url(name_of(database))), pooler)
    nothing_happened(database)


def test_a_pool_whose_other_sessions_are_idle_is_refused(
    ingestion: Service, database: Database, giving: PgBouncer
) -> None:
    """Neighbours came and went, so the pool has many to give, and a probe is mostly given another than ours."""
    with ExitStack() as stack:
        neighbours = [
            stack.enter_context(psycopg.connect(giving.url(name_of(database)), autocommit=True)) for _ in range(8)
        ]
        for neighbour in neighbours:
            neighbour.execute("SELECT 1")
        refused(ingestion.mooring(DATABASE_URL=giving.url(name_of(database))), giving)
    nothing_happened(database)


def test_a_neighbour_that_is_connected_to_the_server_itself_changes_nothing(
    ingestion: Service, database: Database, giving: PgBouncer
) -> None:
    """The pool has a single server connection, which is used again and again: so its number never changes."""
    with psycopg.connect(database.url, autocommit=True) as neighbour:
        neighbour.execute("SELECT 1")
        refused(ingestion.mooring(DATABASE_URL=giving.url(name_of(database))), giving)
    nothing_happened(database)


def test_with_nothing_to_do_any_pool_will_do(ingestion: Service, database: Database, giving: PgBouncer) -> None:
    """One query needs no session: hundreds of pods may ask it by way of the pool that their service uses."""
    assert ingestion.mooring().code == 0
    outcome = ingestion.mooring(DATABASE_URL=giving.url(name_of(database)))
    assert (outcome.code, outcome.event("done")["applied"]) == (0, 0), outcome.output
