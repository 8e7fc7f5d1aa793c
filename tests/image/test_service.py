"""A service's image at work: on a server, against the clock, and when it is told to stop."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.image.docker import RESTRICTED, Ended, Server, docker, python, run, started
from tests.support import PATIENCE, eventually


SYSTEM = "/etc/ssl/certs/ca-certificates.crt"


def test_it_migrates(service: str, server: Server, database: str) -> None:
    ended = server.up(service, database)
    assert ended.code == 0
    assert [event["event"] for event in ended.events] == ["started", "applied", "applied", "done"]
    assert server.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", database) == [
        *("goose_ingestion", "goose_ingestion_ledger", "readings", "sources"),
    ]


def test_a_second_run_changes_nothing(service: str, server: Server, database: str) -> None:
    server.up(service, database)
    before = server.psql("SELECT xmin, * FROM goose_ingestion", database)
    ended = server.up(service, database)
    assert (ended.code, [event["event"] for event in ended.events]) == (0, ["started", "done"])
    assert server.psql("SELECT xmin, * FROM goose_ingestion", database) == before


def test_every_line_is_json_and_says_whose_it_is(service: str, server: Server, database: str) -> None:
    events = server.up(service, database).events
    assert all({"timestamp", "level", "event"} <= event.keys() for event in events)
    assert {event["service"] for event in events} == {"ingestion"}


def test_the_last_word_is_in_the_termination_log(service: str, server: Server, database: str, last_word: Path) -> None:
    server.up(service, database, f"--volume={last_word}:/dev/termination-log")
    assert last_word.read_text().startswith("ingestion 0→2: 2 applied")


def test_missing_settings_are_exit_code_2(service: str, last_word: Path) -> None:
    ended = run(service, options=(*RESTRICTED, f"--volume={last_word}:/dev/termination-log"))
    assert ended.code == 2
    assert "MOORING_SERVICE is missing" in last_word.read_text()
    assert ended.events[-1]["exit_code"] == 2


def test_nothing_of_pythons_environment_counts(service: str, server: Server, database: str) -> None:
    """A PYTHON* variable, or a folder that the image starts in, cannot change what runs."""
    options = ("--env=PYTHONPATH=/migrations", "--env=PYTHONHOME=/nowhere", "--workdir=/migrations")
    assert server.up(service, database, *options).code == 0


def _refusal(ended: Ended) -> str:
    """What the last line of the log says of a server that was not reached."""
    assert ended.code == 10
    return json.dumps(ended.events[-1])


# The server's certificate is signed by `ca` and is for `db`.


def test_tls_an_authority_of_the_services_own(service: str, server: Server, database: str) -> None:
    mounted = f"--volume={server.certificates / 'ca.crt'}:/ca.crt:ro"
    assert server.up(service, database, mounted, url="?sslmode=verify-full&sslrootcert=/ca.crt").code == 0


def test_tls_another_authority_is_refused(service: str, server: Server, database: str) -> None:
    mounted = f"--volume={server.certificates / 'other-ca.crt'}:/ca.crt:ro"
    ended = server.up(service, database, mounted, url="?sslmode=verify-full&sslrootcert=/ca.crt", wait="1s")
    assert "certificate verify failed" in _refusal(ended)


def test_tls_an_authority_of_the_systems(service: str, server: Server, database: str) -> None:
    mounted = f"--volume={server.certificates / 'ca.crt'}:{SYSTEM}:ro"
    assert server.up(service, database, mounted, url="?sslrootcert=system").code == 0


def test_tls_an_authority_that_the_system_does_not_know_is_refused(service: str, server: Server, database: str) -> None:
    ended = server.up(service, database, url="?sslrootcert=system", wait="1s")
    assert "certificate verify failed" in _refusal(ended)


def test_tls_a_certificate_for_another_host_is_refused(service: str, server: Server, database: str) -> None:
    mounted = f"--volume={server.certificates / 'ca.crt'}:/ca.crt:ro"
    url = "?host=not-db&sslmode=verify-full&sslrootcert=/ca.crt"
    ended = server.up(service, database, mounted, url=url, wait="1s")
    assert 'does not match host name \\"not-db\\"' in _refusal(ended)


def test_tls_the_system_knows_public_authorities(image: str) -> None:
    names = "[dict(part[0] for part in one['subject']).get('commonName') for one in ssl.create_default_context().get_ca_certs()]"
    assert python(image, f"import ssl; print('ISRG Root X1' in {names})") == "True"


def test_sigterm_ends_it_while_it_waits_for_the_database(service: str) -> None:
    environment = ("--env=MOORING_SERVICE=ingestion", "--env=MOORING_DATABASE_URL=postgresql://127.0.0.1/none")
    with started(service, options=(*RESTRICTED, *environment)) as identity:
        _stops(identity, "waiting for")


def test_sigterm_ends_it_while_a_statement_runs(service: str, server: Server, database: str, tmp_path: Path) -> None:
    (tmp_path / "00001_take_time.sql").write_text("-- +goose Up\nSELECT pg_sleep(600);\n")
    tmp_path.chmod(0o755)
    options = (
        *RESTRICTED,
        *(f"--network={server.network}", "--env=MOORING_SERVICE=ingestion", f"--volume={tmp_path}:/migrations:ro"),
        f"--env=MOORING_DATABASE_URL=postgresql://postgres:{server.password}@db/{database}",
    )
    sleeping = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND wait_event = 'PgSleep'"
    with started(service, options=options) as identity:
        eventually(lambda: server.psql(sleeping) or None, lambda: docker("logs", identity))
        _stops(identity, "started")
        eventually(lambda: None if server.psql(sleeping) else True, lambda: "the statement still runs", within=2)


def _stops(identity: str, after: str) -> None:
    """A container that has said something ends within two seconds of a SIGTERM, with 143.

    It is the first process of its container, to which a signal that it does not handle means nothing.
    """
    eventually(lambda: True if after in docker("logs", identity) else None, lambda: docker("logs", identity), PATIENCE)
    begun = datetime.now(UTC)
    docker("kill", "--signal=TERM", identity)
    ended = eventually(lambda: _end(identity), lambda: f"it still runs: {docker('logs', identity)}", within=20)
    assert docker("inspect", "--format={{.State.ExitCode}}", identity) == "143"
    assert ended - begun < timedelta(seconds=2)
    assert '"event": "terminated"' in docker("logs", identity)


def _end(identity: str) -> datetime | None:
    status, ended = docker("inspect", "--format={{.State.Status}} {{.State.FinishedAt}}", identity).split()
    return datetime.fromisoformat(ended) if status == "exited" else None
