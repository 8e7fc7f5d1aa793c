"""The other tools' folders: what they read, and what they would pass over."""

from __future__ import annotations

from pathlib import Path

import pytest

from mooring import formats
from mooring.errors import MigrationsInvalid, SettingsInvalid
from mooring.formats import Facts, Format, Options, alembic, dbmate, flyway, flyway_files, golang_migrate, goose
from mooring.migration import Invalid, Migration
from mooring.names import TableName


FACTS = Facts("postgres", "m1", "public", TableName("public", "sleepy"))
DBMATE = "-- migrate:up\n{}\n-- migrate:down\n"


def put(folder: Path, *names: str, **files: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("SELECT 1;\n", encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")


def read(tool: Format, *folders: Path, **options: str) -> list[Migration]:
    return list(tool.read(Options(folders, tool=options)).migrations)


def problems(tool: Format, folder: Path, **options: str) -> list[str]:
    with pytest.raises(Invalid) as error:
        tool.read(Options([folder], tool=options))
    return list(error.value.problems)


def units(migration: Migration) -> list[list[str]]:
    return [[one.text for one in unit] for unit in migration.script.units]


def test_golang_migrate_reads_up_files_by_number(tmp_path: Path) -> None:
    put(tmp_path, "10_c.up.sql", "2_b.up.pgsql", "001_a.up.sql", "001_a.down.sql", "4_only.down.sql", "README.md")
    found = read(golang_migrate, tmp_path)
    assert [(one.version, one.name) for one in found] == [
        ("1", "001_a.up.sql"),
        ("2", "2_b.up.pgsql"),
        ("4", "4_only.down.sql"),
        ("10", "10_c.up.sql"),
    ]
    assert found[2].script.units == (), "a version with only a down file counts, and runs nothing"


def test_golang_migrate_refuses_what_it_would_pass_over(tmp_path: Path) -> None:
    put(
        tmp_path,
        "1_a.up.sql",
        "01_b.up.sql",
        "003_a.sql",
        "a_1.up.sql",
        "9223372036854775808_x.up.sql",
        "sub/2_b.up.sql",
    )
    assert problems(golang_migrate, tmp_path) == [
        "003_a.sql: golang-migrate would pass over it; name it NUMBER_name.up.sql, or set MOORING_IGNORE=003_a.sql",
        "1_a.up.sql: version 1 up is 01_b.up.sql already; give it another number",
        "9223372036854775808_x.up.sql: version 9223372036854775808 does not fit into the version table, whose largest is"
        " 9223372036854775807",
        "a_1.up.sql: golang-migrate would pass over it; name it NUMBER_name.up.sql, or set MOORING_IGNORE=a_1.up.sql",
        "sub/: golang-migrate reads no sub-folders; move its files up, or set MOORING_IGNORE=sub",
    ]


def test_golang_migrate_sends_a_file_at_once_unless_told_otherwise(tmp_path: Path) -> None:
    put(tmp_path, **{"1_a.up": "SELECT 1; SELECT 2;", "2_b.up": "CREATE INDEX CONCURRENTLY i ON t (x);"})
    whole, alone = read(golang_migrate, tmp_path)
    assert (units(whole), whole.script.transactional) == ([["SELECT 1", "SELECT 2"]], True)
    assert not alone.script.transactional
    each, _ = read(golang_migrate, tmp_path, X_MULTI_STATEMENT="true")
    assert (units(each), each.script.transactional) == ([["SELECT 1"], ["SELECT 2"]], False)


@pytest.mark.parametrize(
    ("sql", "transactional"),
    [
        ("CALL p();", False),
        ("REINDEX (CONCURRENTLY) TABLE t;", False),
        ("CLUSTER", False),
        ("DO $$ BEGIN DELETE FROM t; COMMIT; END $$", False),
        ("ALTER TABLE s.t DETACH PARTITION s.t1 CONCURRENTLY", False),
        ("DO $$ BEGIN DELETE FROM t; END $$", True),
        ("ALTER TABLE s.t DETACH PARTITION s.t1", True),
        ("CALL p(); SELECT 1;", True),
    ],
)
def test_golang_migrate_runs_alone_what_may_not_be_in_a_transaction(
    tmp_path: Path, sql: str, transactional: bool
) -> None:
    put(tmp_path, **{"1_a.up": sql})
    [found] = read(golang_migrate, tmp_path)
    assert found.script.transactional is transactional


@pytest.mark.parametrize(
    ("rows", "ledger", "versions"),
    [
        ([], {}, []),
        ([("2", "false")], {}, ["1", "2"]),
        ([("4", "false")], {"1": True, "2": True, "4": True}, ["1", "2", "4"]),
        ([("4", "false")], {"1": True, "2": True}, ["1", "2", "3", "4"]),
        ([("9", "false")], {"1": True}, ["1", "2", "3", "4", "9"]),
        ([("2", "false")], {"1": True, "2": True, "3": True}, ["1", "2"]),
        ([("3", "true")], {"1": True, "2": True, "3": False}, ["1", "2"]),
    ],
)
def test_golang_migrates_mark_means_what_the_ledger_says(
    tmp_path: Path, rows: list[tuple[str, str]], ledger: dict[str, bool], versions: list[str]
) -> None:
    put(tmp_path, "1_a.up.sql", "2_b.up.sql", "3_c.up.sql", "4_d.up.sql")
    told = golang_migrate.applied(rows, ledger, read(golang_migrate, tmp_path))
    assert (sorted(told.versions), told.stuck) == (versions, ())


def test_golang_migrates_lock_keys() -> None:
    """The command's was seen in pg_locks for this table; the library hashes the name without the slash."""
    assert golang_migrate.locks(FACTS, {}) == [2696354255, 3489556900]


def test_flyways_lock_key() -> None:
    """Seen in pg_locks for Flyway's default table."""
    facts = Facts("u", "d", "public", TableName("public", "flyway_schema_history"))
    assert flyway.locks(facts, {}) == [77433833903597]


def test_dbmate_orders_by_name_as_text_over_all_folders(tmp_path: Path) -> None:
    put(tmp_path / "one", "10_a.sql", "2_b.sql")
    put(tmp_path / "two", "1.sql")
    for path in tmp_path.rglob("*.sql"):
        path.write_text(DBMATE.format("SELECT 1;"), encoding="utf-8")
    assert [one.version for one in read(dbmate, tmp_path / "one", tmp_path / "two")] == ["1", "10", "2"]


def test_dbmate_refuses_what_it_would_pass_over_or_choke_on(tmp_path: Path) -> None:
    put(tmp_path, "x_1.sql", "3_none.sql")
    put(tmp_path, **{"1_a": DBMATE.format(""), "1b": DBMATE.format(""), "2_no_down": "-- migrate:up\nSELECT 1;\n"})
    put(tmp_path, **{"4_before": "SELECT 0;\n" + DBMATE.format("SELECT 'a;")})
    assert problems(dbmate, tmp_path) == [
        "1b.sql: version 1 is 1_a.sql already; give it another number",
        "2_no_down.sql:1:1: no -- migrate:down follows this -- migrate:up",
        "3_none.sql:1:1: no -- migrate:up line",
        "4_before.sql:1:1: only comments with -- can stand before -- migrate:up",
        "4_before.sql:3:8: ' is never closed",
        "x_1.sql: dbmate would pass over it; name it NUMBER_name.sql, or set MOORING_IGNORE=x_1.sql",
    ]


def test_dbmate_sections_and_transactions(tmp_path: Path) -> None:
    outside = "-- migrate:up transaction:false\nSELECT 3; SELECT 4;\n-- migrate:down\n"
    put(
        tmp_path, **{"1_a": DBMATE.format("SELECT 1; SELECT 2;"), "2_b": DBMATE.format("SELECT 1; SELECT 2;") + outside}
    )
    one, two = read(dbmate, tmp_path)
    assert (units(one), one.script.transactional) == ([["SELECT 1", "SELECT 2"]], True)
    assert (units(two), two.script.transactional) == ([["SELECT 1", "SELECT 2"], ["SELECT 3"], ["SELECT 4"]], False)


def test_flyway_orders_versions_by_their_parts_and_repeatables_by_description(tmp_path: Path) -> None:
    put(tmp_path, "V10__c.sql", "V1_1__b.sql", "below/V002.1__x.SQL", "V1__a.sql", "R__b_b.sql", "R__a_a.sql", "V3.sql")
    assert [(one.version, one.name) for one in read(flyway, tmp_path)] == [
        ("1", "V1__a.sql"),
        ("1.1", "V1_1__b.sql"),
        ("2.1", "below/V002.1__x.SQL"),
        ("3", "V3.sql"),
        ("10", "V10__c.sql"),
        ("R a a", "R__a_a.sql"),
        ("R b b", "R__b_b.sql"),
    ]


def test_flyway_refuses_what_it_would_pass_over_or_cannot_be_run(tmp_path: Path) -> None:
    put(tmp_path, "V1__a.sql", "V1.0__again.sql", "V3_single.sql", "v4__lower.sql", "x.sql", "U1__a.sql", "V5__j.java")
    put(tmp_path, "afterClean.sql", "afterMigrateError__x.sql", "V6__f.sql", "V7__g.sql")
    (tmp_path / "V6__f.sql.conf").write_text(
        "shouldExecute=true\nfoo=1\nexecuteInTransaction=maybe\n", encoding="utf-8"
    )
    put(tmp_path, V8__mixed="CREATE TABLE t ();\nVACUUM t;\n", V9__name="SELECT '${who}';\n")
    stray = "Flyway would pass over it; name it as V1__description.sql is, or set MOORING_IGNORE"
    assert problems(flyway, tmp_path) == [
        "U1__a.sql: is an undo migration, which only Flyway's paid editions run; set MOORING_IGNORE=U*",
        "V1__a.sql: is the same version as V1.0__again.sql; give it another number",
        f"V3_single.sql: {stray}=V3_single.sql",
        "V5__j.java: is a Java migration, which only Flyway can run",
        "V6__f.sql.conf:1:1: shouldExecute is for Flyway's paid editions",
        "V6__f.sql.conf:2:1: Flyway knows no 'foo' here, only executeInTransaction, encoding, placeholderReplacement",
        "V6__f.sql.conf:3:1: executeInTransaction is true or false, not 'maybe'",
        "V8__mixed.sql:2:1: this statement cannot run in a transaction, and others of the file can: move it to a file of its"
        " own, or write executeInTransaction=false into V8__mixed.sql.conf",
        "V9__name.sql:1:9: no value for ${who}: set FLYWAY_PLACEHOLDERS_WHO",
        "afterClean.sql: Mooring runs the callbacks beforeMigrate, beforeEachMigrate, afterEachMigrate, afterMigrate, and not"
        " afterClean",
        "afterMigrateError__x.sql: Mooring runs the callbacks beforeMigrate, beforeEachMigrate, afterEachMigrate, afterMigrate,"
        " and not afterMigrateError",
        f"v4__lower.sql: {stray}=v4__lower.sql",
        f"x.sql: {stray}=x.sql",
    ]


def test_flyways_options_change_the_names(tmp_path: Path) -> None:
    put(tmp_path, "M1-a.pg", "M2-b.ddl", "M9-z.ddl", "Z-r.pg", "V1__other.sql")
    options = {"SQL_MIGRATION_PREFIX": "M", "REPEATABLE_SQL_MIGRATION_PREFIX": "Z", "SQL_MIGRATION_SEPARATOR": "-"}
    found = read(flyway, tmp_path, **options, SQL_MIGRATION_SUFFIXES=".pg,.ddl", TARGET="2")
    assert [one.version for one in found] == ["1", "2", "R r"]


def test_flyway_callbacks_stand_around_each_migration_and_around_all(tmp_path: Path) -> None:
    put(tmp_path, beforeMigrate="SELECT 0;", afterMigrate__b="SELECT 9;", afterMigrate__a="SELECT 8;")
    put(tmp_path, beforeEachMigrate="SELECT 1;", afterEachMigrate="SELECT 3;", V1__a="SELECT 2;")
    folder = flyway.read(Options([tmp_path]))
    assert [units(one) for one in folder.before] == [[["SELECT 0"]]]
    assert [units(one) for one in folder.after] == [[["SELECT 8"]], [["SELECT 9"]]]
    assert [units(one) for one in folder.migrations] == [[["SELECT 1", "SELECT 2", "SELECT 3"]]]


def test_flyway_placeholders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWAY_PLACEHOLDERS_WHO", "me")
    put(tmp_path, V1__a="SELECT '${who} ${WHO}', '${flyway:filename} ${flyway:user} ${flyway:table}';")
    folder = flyway.read(Options([tmp_path], known={"facts": FACTS}))
    assert units(folder.migrations[0]) == [["SELECT 'me me', 'V1__a.sql postgres sleepy'"]]
    [raw] = read(flyway, tmp_path, PLACEHOLDER_REPLACEMENT="false")
    assert "${who}" in units(raw)[0][0]


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        ("", 0),
        ("CREATE TABLE t1 ();\n", flyway_files.checksum("CREATE TABLE t1 ();")),
        ("a\r\nb\r", flyway_files.checksum("a\nb")),
    ],
)
def test_flyways_checksum_takes_no_notice_of_line_ends(text: str, checksum: int) -> None:
    assert flyway_files.checksum(text) == checksum


def test_flyways_checksum_is_that_of_flyway() -> None:
    """Seen in the history that Flyway 11.8.2 wrote for these files."""
    assert flyway_files.checksum("create table b2();\n") == -1144814153
    assert flyway_files.checksum("create table t3();\n") == -320896784


def revision(name: str, down: str, body: str = "pass", **more: str) -> str:
    extra = "\n".join(f"{key} = {value}" for key, value in more.items())
    return (
        f"import app.models\nrevision: str = {name!r}\ndown_revision = {down}\n{extra}\n\ndef upgrade():\n    {body}\n"
    )


def versions(folder: Path, **files: str) -> Path:
    (folder / "versions").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "versions" / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_alembic_follows_the_graph_without_importing_anything(tmp_path: Path) -> None:
    versions(tmp_path, a=revision("1", "None"), b=revision("3", "'1'"), c=revision("2", "'1'", depends_on="['3']"))
    versions(tmp_path, d=revision("4", "('2', '3')"), __init__="", env="# not a revision")
    (tmp_path / "versions/env.py").unlink()
    assert [one.version for one in read(alembic, tmp_path)] == ["1", "3", "2", "4"]


def test_alembic_refuses_what_it_could_not_run(tmp_path: Path) -> None:
    versions(
        tmp_path, a=revision("1", "None"), b=revision("1", "None"), c="x = 1\n", d=revision("2", "get()"), e="def ("
    )
    versions(tmp_path, f=revision("3", "'nowhere'"), g=revision("x" * 33, "None"))
    assert problems(alembic, tmp_path) == [
        "b.py: revision 1 is a.py already",
        "c.py:1:1: no revision = '…'",
        "d.py:3:1: down_revision is computed; write it as a literal",
        "e.py:1:5: invalid syntax",
        "f.py: there is no revision nowhere, on which it builds",
        f"g.py: revision {'x' * 33} is longer than the 32 characters of the version table",
    ]


def test_alembic_with_several_heads_is_refused(tmp_path: Path) -> None:
    versions(tmp_path, a=revision("1", "None"), b=revision("2", "'1'"), c=revision("3", "'1'"))
    assert problems(alembic, tmp_path) == ["b.py, c.py: 2 heads: make one of them with alembic merge heads"]


def test_alembics_heads_stand_on_all_before_them(tmp_path: Path) -> None:
    versions(
        tmp_path, a=revision("1", "None"), b=revision("2", "'1'"), c=revision("3", "'1'"), d=revision("4", "('2','3')")
    )
    found = read(alembic, tmp_path)
    assert alembic.applied([("2", "")], {}, found).versions == {"1", "2"}
    assert alembic.applied([("4", "")], {}, found).versions == {"1", "2", "3", "4"}
    newer = alembic.applied([("5", "")], {"1": True, "2": True, "3": True, "4": True}, found)
    assert newer.versions == {"1", "2", "3", "4", "5"}
    assert not newer.differs
    lost = alembic.applied([("5", "")], {"1": True, "2": True, "3": True}, found)
    assert lost.differs == {"4": "d.py is not recorded, and the database is at 5, which has no file here"}


def test_alembics_text_is_evidence(tmp_path: Path) -> None:
    body = "op.create_table('t', schema='s')\n    op.rename_table('a', 'b')\n    op.execute('DROP TABLE c; SELECT 1')"
    versions(tmp_path, a=revision("1", "None", body))
    [found] = read(alembic, tmp_path)
    assert units(found) == [['CREATE TABLE "s"."t"', 'ALTER TABLE "a" RENAME TO "b"', "DROP TABLE c", "SELECT 1"]]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"1_a.sql": "-- +goose Up\n"}, "goose"),
        ({"1_a.up.sql": ""}, "golang-migrate"),
        ({"V1__a.sql": ""}, "flyway"),
        ({"1_a.sql": "-- migrate:up\n"}, "dbmate"),
        ({"versions/1.py": "revision = '1'\ndown_revision = None\n", "env.py": ""}, "alembic"),
        ({"1.py": "revision = '1'\ndown_revision = None\n"}, "alembic"),
        ({"versions/1.py": "revision = '1'\ndown_revision = None\n"}, "alembic"),
    ],
)
def test_a_folder_says_whose_it_is(tmp_path: Path, files: dict[str, str], name: str) -> None:
    for file, text in files.items():
        put(tmp_path, file)
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert name == formats.read(Options([tmp_path]), None)[0].NAME


def test_a_folder_that_fits_two_tools_is_refused_naming_them(tmp_path: Path) -> None:
    put(tmp_path, "V1__a.sql", "1_a.up.sql")
    with pytest.raises(MigrationsInvalid) as error:
        formats.read(Options([tmp_path]), None)
    assert error.value.problems == (f"{tmp_path}: looks like migrations of golang-migrate and of flyway",)
    assert error.value.hint.startswith("Set MOORING_FORMAT=golang-migrate or MOORING_FORMAT=flyway")
    tool, _ = formats.read(Options([tmp_path], ignore=["1_*"]), "flyway")
    assert tool is flyway


def test_a_folder_that_fits_none_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "readme.txt")
    with pytest.raises(MigrationsInvalid) as error:
        formats.read(Options([tmp_path]), None)
    assert error.value.problems == (f"{tmp_path}: no migrations that Mooring knows",)


def test_an_option_of_another_tool_is_refused(tmp_path: Path) -> None:
    put(tmp_path, **{"1_a": "-- +goose Up\n"})
    with pytest.raises(SettingsInvalid) as error:
        formats.read(Options([tmp_path], tool={"MIXED": "true"}), None)
    assert error.value.problems == ("MOORING_MIXED is not for migrations of goose",)


def test_gooses_lock_is_taken_where_a_setting_names_it() -> None:
    assert goose.locks(FACTS, {}) == []
    assert goose.locks(FACTS, {"LOCK_ID": "4097083626,5887940537704921958"}) == [4097083626, 5887940537704921958]
