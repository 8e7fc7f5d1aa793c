"""What commits together."""

from __future__ import annotations

import pytest

from mooring.lexer import Source, split
from mooring.migration import Invalid, Migration, Script, script_of


def script(text: str, *, transactional: bool) -> Script:
    statements, rest = split(text, source=Source("1_a.sql", text))
    return script_of([(one,) for one in (*statements, *([rest] if rest else []))], transactional=transactional)


def units(text: str, *, transactional: bool) -> list[list[str]]:
    return [[one.text for one in unit] for unit in script(text, transactional=transactional).units]


def test_a_transactional_file_is_one_unit() -> None:
    assert units("SELECT 1; SELECT 2;", transactional=True) == [["SELECT 1", "SELECT 2"]]


def test_without_a_transaction_each_statement_is_a_unit() -> None:
    assert units("SELECT 1; SELECT 2;", transactional=False) == [["SELECT 1"], ["SELECT 2"]]


@pytest.mark.parametrize(
    "begin", ["BEGIN", "begin work", "START TRANSACTION", "BEGIN /* y */", "BEGIN -- y\n WORK /* z */"]
)
@pytest.mark.parametrize("transactional", [True, False])
def test_a_file_that_wraps_itself_is_transactional_without_its_begin_and_commit(
    begin: str, transactional: bool
) -> None:
    text = f"{begin}; SELECT 1; SELECT 2; COMMIT;"
    assert units(text, transactional=transactional) == [["SELECT 1", "SELECT 2"]]
    assert script(text, transactional=transactional).transactional


def test_what_begin_asks_for_is_asked_of_the_transaction() -> None:
    text = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; END;"
    assert units(text, transactional=True) == [["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT 1"]]
    text = "START /* y */ TRANSACTION READ ONLY; SELECT 1; END;"
    assert units(text, transactional=True) == [["SET TRANSACTION READ ONLY", "SELECT 1"]]


def test_a_file_that_commits_in_the_middle_is_not_transactional() -> None:
    text = "SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3; SELECT 4;"
    assert units(text, transactional=True) == [["SELECT 1", "SELECT 2"], ["SELECT 3", "SELECT 4"]]
    assert not script(text, transactional=True).transactional
    assert units(text, transactional=False) == [["SELECT 1"], ["SELECT 2"], ["SELECT 3"], ["SELECT 4"]]


def test_an_empty_file_is_transactional() -> None:
    assert script("", transactional=True) == Script((), transactional=True)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("ROLLBACK", "ROLLBACK would undo what is then recorded as applied"),
        ("ABORT", "ABORT would undo what is then recorded as applied"),
        ("PREPARE TRANSACTION 'x'", "two-phase commit leaves the migration undecided"),
        ("COMMIT PREPARED 'x'", "two-phase commit leaves the migration undecided"),
        ("COMMIT AND CHAIN", "COMMIT AND CHAIN is not supported: write COMMIT; BEGIN;"),
        (
            "COPY t (a, b) FROM STDIN",
            "COPY FROM STDIN needs data from a client: write INSERT, or COPY FROM a file that the server has",
        ),
    ],
)
def test_what_no_migration_can_run_is_refused_with_its_place(statement: str, problem: str) -> None:
    with pytest.raises(Invalid) as error:
        script(f"SELECT 1;\n  {statement};", transactional=True)
    assert error.value.problems == (f"1_a.sql:2:3: {problem}",)


@pytest.mark.parametrize("statement", ["ROLLBACK TO SAVEPOINT a", "COMMIT AND NO CHAIN", "PREPARE p AS SELECT 1"])
def test_what_only_looks_like_it_is_not(statement: str) -> None:
    assert len(script(f"BEGIN; SELECT 1; {statement};", transactional=True).units) == 1


def test_a_checksum_takes_no_notice_of_how_lines_end() -> None:
    def migration(text: str) -> Migration:
        return Migration("1", (1,), Source("1_a.sql", text), lambda _: Script(()))

    assert migration("a\r\nb\r\n").checksum == migration("a\nb\n").checksum
    assert migration("a\nb\n").checksum != migration("a\nb ").checksum
