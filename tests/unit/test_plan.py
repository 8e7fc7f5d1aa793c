"""The decision, without a database. What the database adds is in tests/postgres."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mooring.errors import ForeignVersionTable, HalfDone, HistoryDiffers, TablesMissing
from mooring.formats import Applied, goose
from mooring.history import History
from mooring.ledger import Entry
from mooring.lexer import Source
from mooring.migration import Migration
from mooring.names import TableName
from mooring.ownership import Policy, default_table
from mooring.plan import Plan, decide
from mooring.proof import prove


POLICY = Policy("orders")
EMPTY = History(TableName("public", "goose_orders"))


def migration(version: int, up: str = "") -> Migration:
    up = up or f"CREATE TABLE t{version} ();"
    return Migration(str(version), (version,), Source(f"{version}_t.sql", f"-- +goose Up\n{up}\n"), goose.parse)


def recorded(*migrations: Migration, **entries: Entry) -> History:
    """A history in which Mooring has run these migrations."""
    known = {one.version: Entry(one.name, one.checksum, None, doing=False) for one in migrations}
    return EMPTY._replace(exists=True, owner="orders", told=Applied(frozenset(known)), entries=known | entries)


def plan(folder: list[Migration], history: History, policy: Policy = POLICY) -> Plan:
    return decide(folder, history, goose, policy)


def test_an_empty_database_gets_everything() -> None:
    folder = [migration(1), migration(2)]
    assert plan(folder, EMPTY) == Plan(create=True, pending=tuple(folder))


def test_with_everything_recorded_there_is_nothing_to_do() -> None:
    folder = [migration(1), migration(2)]
    assert plan(folder, recorded(*folder)) == Plan()
    assert plan(folder, recorded(*folder)).idle


def test_what_is_newer_than_every_file_is_ahead() -> None:
    one, two, three = migration(1), migration(2), migration(3)
    assert plan([one], recorded(one, two, three)) == Plan(ahead=("2", "3"))


def test_recorded_scripts_are_never_parsed() -> None:
    one = migration(1, "SELECT 'never closed")
    assert plan([one], recorded(one)).idle


@pytest.mark.parametrize(
    ("folder", "history", "problem"),
    [
        ([migration(1, "SELECT 2;")], recorded(migration(1)), "1_t.sql is not the file that ran as version 1"),
        ([migration(2)], recorded(migration(1), migration(2)), "1_t.sql ran as version 1, and there is no such file"),
        ([migration(1), migration(2)], recorded(migration(2)), "1_t.sql is numbered below 2, which ran already"),
    ],
)
def test_a_history_that_differs_is_refused(folder: list[Migration], history: History, problem: str) -> None:
    with pytest.raises(HistoryDiffers) as error:
        plan(folder, history)
    assert error.value.problems[0].startswith(problem)


def test_settings_let_known_differences_pass() -> None:
    late, two, three = migration(1), migration(2), migration(3)
    policy = Policy("orders", out_of_order=("01",), squashed="2")
    assert plan([late, three], recorded(two, three), policy) == Plan(pending=(late,))


def test_another_owner_is_refused() -> None:
    with pytest.raises(ForeignVersionTable) as error:
        plan([migration(1)], recorded(migration(1))._replace(owner="billing"))
    assert error.value.problems == ("goose_orders belongs to billing, not to orders",)


def native(*versions: str, tables: Mapping[str, str] | None = None) -> History:
    """A history that goose itself wrote."""
    found = frozenset(TableName(schema, name) for name, schema in (tables or {}).items())
    return EMPTY._replace(exists=True, told=Applied(frozenset(versions)), tables=found)


def test_what_a_tool_recorded_is_adopted_with_its_evidence() -> None:
    folder = [migration(1), migration(2, "DROP TABLE t1; CREATE TABLE app.t2 ();"), migration(3)]
    found = plan(folder, native("1", "2", tables={"t2": "app"}))
    assert found == Plan(create=True, adopt={folder[0]: [], folder[1]: [TableName("app", "t2")]}, pending=(folder[2],))


def test_evidence_in_the_wrong_schema_is_none_where_the_file_names_one() -> None:
    with pytest.raises(ForeignVersionTable):
        plan([migration(1, "CREATE TABLE app.t1 ();")], native("1", tables={"t1": "public"}))


def test_a_half_done_migration_goes_on_and_keeps_its_entry() -> None:
    one = migration(1)
    history = recorded(**{"1": Entry(one.name, one.checksum, 2, doing=False)})
    assert plan([one], history) == Plan(pending=(one,))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Entry("1_t.sql", "other", 2, doing=False), "1_t.sql was changed after its first 2 statements had run"),
        (
            Entry("1_t.sql", migration(1).checksum, 2, doing=True),
            "1_t.sql: statement 3 was begun outside a transaction, and nobody knows whether it is done",
        ),
    ],
)
def test_a_half_done_migration_that_cannot_go_on_is_refused(entry: Entry, problem: str) -> None:
    found = plan([migration(1)], recorded(**{"1": entry}))
    assert isinstance(found.trouble, HalfDone)
    assert found.trouble.problems == (problem,)
    assert not found.idle


def test_a_version_that_its_tool_rolled_back_is_forgotten_and_runs_again() -> None:
    one, two = migration(1), migration(2)
    history = recorded(one, two)._replace(told=Applied(frozenset("1")))
    assert plan([one, two], history) == Plan(forget=("2",), pending=(two,))


def test_the_proof_names_every_missing_table_once_and_only_those_of_applied_migrations() -> None:
    one, two = migration(1), migration(2)
    history = recorded(one, two)._replace(
        told=Applied(frozenset("1")),
        lost=[("public.t1", "1"), ("public.t1", "1"), ("public.t2", "2")],
        unmet=("app.x",),
    )
    with pytest.raises(TablesMissing) as error:
        prove(history, Plan(), [one, two], "orders")
    assert error.value.problems == (
        "public.t1 of orders is missing: version 1 (1_t.sql) made it",
        "app.x is missing: MOORING_EXPECTED_TABLES names it, and no migration of orders makes it",
    )


def test_something_pending_after_a_run_is_no_proof() -> None:
    with pytest.raises(HistoryDiffers) as error:
        prove(EMPTY, Plan(pending=[migration(1)]), [migration(1)], "orders")
    assert error.value.problems == ("1_t.sql ran, but goose_orders does not say so",)


@pytest.mark.parametrize(
    ("service", "table"),
    [("orders", "goose_orders"), ("Order-Events.v2", "goose_order_events_v2"), ("bestände", "goose_best_nde")],
)
def test_a_default_table_is_one_that_the_tool_can_use_unquoted(service: str, table: str) -> None:
    assert default_table(goose, service) == table
