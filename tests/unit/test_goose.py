"""goose folders, as goose 3.29 reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mooring.errors import MigrationsInvalid
from mooring.formats import Options, goose
from mooring.lexer import Source
from mooring.migration import Invalid, Migration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, text: str | bytes = "-- +goose Up\nSELECT 1;\n") -> None:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


def problems(folder: Path) -> list[str]:
    with pytest.raises(Invalid) as error:
        goose.read(Options([folder]))
    return list(error.value.problems)


def migration(text: str) -> Migration:
    return Migration("1", (1,), Source("1_a.sql", text), goose.parse)


def statements(text: str) -> list[list[str]]:
    return [[one.text for one in unit] for unit in migration(text).script.units]


def invalid(text: str) -> list[str]:
    with pytest.raises(Invalid) as error:
        goose.parse(migration(text))
    return [problem.removeprefix("1_a.sql:") for problem in error.value.problems]


def test_files_run_by_number_not_by_name(folder: Path) -> None:
    for name in ("10_ten.sql", "9_nine.sql", "00002_two.sql", "20260101120000_date.sql", "3_.sql"):
        write(folder, name)
    assert [one.version for one in goose.read(Options([folder])).migrations] == [
        "2",
        "3",
        "9",
        "10",
        "20260101120000",
    ]


def test_what_goose_has_nothing_to_do_with_is_left_alone(folder: Path) -> None:
    for name in ("1_a.sql", "README.md", "embed.go", "1_a_test.go", "2_b.sql.bak", ".gitkeep", "atlas.sum"):
        write(folder, name)
    (folder / "docs").mkdir()
    write(folder / "docs", "notes.txt")
    assert [one.name for one in goose.read(Options([folder])).migrations] == ["1_a.sql"]


def test_a_configmap_volume_is_read_once(folder: Path) -> None:
    """Its files are links to ..data, which is a link to a folder with the files."""
    (folder / "..2026_11_22").mkdir()
    write(folder / "..2026_11_22", "1_a.sql")
    (folder / "..data").symlink_to("..2026_11_22")
    (folder / "1_a.sql").symlink_to("..data/1_a.sql")
    assert [one.name for one in goose.read(Options([folder])).migrations] == ["1_a.sql"]


def test_every_problem_of_a_folder_is_named_at_once(folder: Path) -> None:
    for name in ("1_a.sql", "01_again.sql", "nounder.sql", "v2_x.sql", "2_b.SQL", "0_zero.sql", "3_go.go"):
        write(folder, name)
    write(folder, "9223372036854775808_big.sql")
    write(folder, "4_bom.sql", b"\xef\xbb\xbf-- +goose Up\nSELECT 1;\n")
    write(folder, "5_latin.sql", b"-- +goose Up\nSELECT '\xe4';\n")
    write(folder, "6_nul.sql", "-- +goose Up\nSELECT\0 1;\n")
    write(folder, "7_none.sql", "SELECT 1;\n")
    (folder / "sub").mkdir()
    write(folder / "sub", "8_c.sql")
    assert problems(folder) == [
        "0_zero.sql: version 0 is not between 1 and 9223372036854775807",
        "1_a.sql: version 1 is 01_again.sql already; give it another number",
        "2_b.SQL: goose would pass over it; rename it to 2_b.sql",
        "3_go.go: is a Go migration, which only a program compiled with it can run",
        "4_bom.sql:1:1: begins with a byte order mark, which goose refuses; save the file without it",
        "5_latin.sql:2:9: byte 0xe4 is not UTF-8; save the file as UTF-8",
        "6_nul.sql:2: has a NUL character",
        "7_none.sql:1:1: no -- +goose Up line",
        "9223372036854775808_big.sql: version 9223372036854775808 is not between 1 and 9223372036854775807",
        "nounder.sql: is not named as goose needs it, NUMBER_name.sql",
        "sub/: goose reads no sub-folders; move its files up, or set MOORING_IGNORE=sub",
        "v2_x.sql: is not named as goose needs it, NUMBER_name.sql",
    ]


def test_an_empty_a_missing_and_no_folder(folder: Path) -> None:
    assert problems(folder) == [f"{folder}: no migrations: goose reads files such as 00001_create_orders.sql"]
    with pytest.raises(MigrationsInvalid) as error:
        goose.read(Options([folder / "nope"]))
    assert error.value.problems == (f"{folder}/nope: no such folder",)
    write(folder, "file")
    with pytest.raises(MigrationsInvalid) as error:
        goose.read(Options([folder / "file"]))
    assert error.value.problems == (f"{folder}/file: is a file, not a folder",)


def test_a_link_that_leads_nowhere_is_a_problem(folder: Path) -> None:
    (folder / "1_a.sql").symlink_to("nowhere.sql")
    assert problems(folder) == ["1_a.sql: no such file or directory"]


def test_only_the_up_section_runs() -> None:
    assert statements("-- why\n\n-- +goose Up\nSELECT 1;\nSELECT 2;\n\n-- +goose Down\nSELECT 3;\n") == [
        ["SELECT 1", "SELECT 2"]
    ]


def test_annotations_are_read_without_case_and_with_any_spaces() -> None:
    text = "--   +goose   up  \n--+goose statementbegin\nSELECT 1; SELECT 2\n-- +goose STATEMENTEND\n-- +goose down\n"
    assert statements(text) == [["SELECT 1", "SELECT 2"]]


def test_windows_line_ends() -> None:
    assert statements("-- +goose Up\r\nSELECT 1;\r\n-- +goose Down\r\nSELECT 2;\r\n") == [["SELECT 1"]]


def test_a_file_without_statements_runs_nothing() -> None:
    assert statements("-- +goose Up\n-- nothing yet\n-- +goose Down\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1;\nEND;\n$$;",
        "INSERT INTO t VALUES ('a;\nb');",
        "SELECT 1 /* one;\ntwo; */;",
    ],
)
def test_statements_that_goose_would_cut_in_two_are_whole(body: str) -> None:
    """goose ends a statement at a line that ends in a semicolon (pressly/goose#91, #231, #784)."""
    assert statements(f"-- +goose Up\n{body}\n/* the end; */\n") == [[body.removesuffix(";")]]


def test_no_transaction_counts_wherever_it_stands() -> None:
    script = migration("-- +goose Up\nSELECT 1;\nSELECT 2;\n-- +goose NO TRANSACTION\n-- +goose Down\n").script
    assert not script.transactional
    assert [len(unit) for unit in script.units] == [1, 1]


def test_what_stands_between_begin_and_end_is_sent_together() -> None:
    text = "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\nSELECT 1; SELECT 2;\n-- +goose StatementEnd\n"
    assert statements(text) == [["SELECT 1", "SELECT 2"]]


def test_an_empty_begin_and_end_swallows_nothing() -> None:
    """goose itself loses the line that follows them."""
    assert statements("-- +goose Up\n-- +goose StatementBegin\n-- +goose StatementEnd\nSELECT 1;\n") == [["SELECT 1"]]


def test_envsub_replaces_variables_between_on_and_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "eu")
    text = (
        "-- +goose Up\nSELECT '$REGION';\n"
        "-- +goose ENVSUB ON\nSELECT '${REGION}', $$a;b$$;\n-- +goose ENVSUB OFF\nSELECT '$REGION';\n"
    )
    assert statements(text) == [["SELECT '$REGION'", "SELECT 'eu', $$a;b$$", "SELECT '$REGION'"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "-- +goose Down\nSELECT 1;\n",
            ["1:1: -- +goose Down cannot stand before -- +goose Up", "1:1: no -- +goose Up line"],
        ),
        ("SELECT 1;\n-- +goose Up\n", ["1:1: only comments with -- can stand before -- +goose Up"]),
        ("-- +goose Up\n-- +goose Up\n", ["2:1: -- +goose Up cannot stand after -- +goose Up"]),
        ("-- +goose Up\n-- +goose Down\n-- +goose Down\n", ["3:1: -- +goose Down cannot stand after -- +goose Down"]),
        ("-- +goose Up\n-- +goose StatementEnd\n", ["2:1: -- +goose StatementEnd cannot stand after -- +goose Up"]),
        (
            "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n-- +goose Down\n",
            [
                "4:1: -- +goose Down cannot stand inside the StatementBegin of line 2",
                "2:1: no -- +goose StatementEnd follows this StatementBegin",
            ],
        ),
        ("-- +goose Up\nSELECT 1;\nSELECT 2\n-- +goose Down\n", ["3:1: no semicolon ends this statement; add one"]),
        ("-- +goose Up\nSELECT 'a;\n", ["2:8: ' is never closed"]),
        (
            "-- +goose Up\n  -- +goose Down\n",
            ["2:1: spaces before a +goose annotation; goose wants it at the start of its line"],
        ),
        (
            "-- +goose Up\n-- see the +goose docs\n",
            [
                "2:1: goose knows no annotation 'see the  docs', only Up, Down, StatementBegin, StatementEnd,"
                " NO TRANSACTION, ENVSUB ON, ENVSUB OFF"
            ],
        ),
        (
            "-- +goose Up\n-- +goose ENVSUB ON\nSELECT '${NOWHERE?say it}', 1;\nSELECT $1;\n",
            [
                "3:1: ENVSUB: $NOWHERE: say it",
                "4:1: ENVSUB: no variable's name follows the $ before '1;'; write \\$ for a dollar",
            ],
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(text: str, found: list[str]) -> None:
    assert invalid(text) == found
