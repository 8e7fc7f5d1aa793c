"""The images of the tests: a service's migrations on top of Mooring's image, each a folder of goose files."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path


POSTGRES = "postgres:17"

_INGESTION = {
    "00001_create_sources.sql": """\
-- +goose Up
CREATE TABLE sources (id bigint PRIMARY KEY, url text NOT NULL);
-- +goose Down
DROP TABLE sources;
""",
    "00002_create_readings.sql": """\
-- +goose Up
CREATE TABLE readings (source bigint REFERENCES sources, value numeric);
-- +goose Down
DROP TABLE readings;
""",
}
_EVENTHANDLER = {
    "00001_create_events.sql": """\
-- +goose Up
CREATE TABLE events (id bigint PRIMARY KEY, payload jsonb NOT NULL);
-- +goose Down
DROP TABLE events;
""",
    "00002_create_handlers.sql": """\
-- +goose Up
CREATE TABLE handlers (event bigint REFERENCES events, state text);
-- +goose Down
DROP TABLE handlers;
""",
}
_THIRD = {"00003_add_unit.sql": "-- +goose Up\nALTER TABLE readings ADD COLUMN unit text;\n"}
_BROKEN = {
    "00003_add_unit.sql": """\
-- +goose Up
CREATE TABLE units (name text);
ALTER TABLE raedings ADD COLUMN unit text;
"""
}
# Long enough for every one of many replicas to be there before the first is done.
_SLOW = {"00003_take_time.sql": "-- +goose Up\nSELECT pg_sleep(5);\n"}

INGESTION = "mooring-test/ingestion:1.0.0"
INGESTION_WITH_THIRD = "mooring-test/ingestion:1.1.0"
INGESTION_BROKEN = "mooring-test/ingestion:1.1.0-broken"
INGESTION_SLOW = "mooring-test/ingestion:1.1.0-slow"
EVENTHANDLER = "mooring-test/eventhandler:1.0.0"

IMAGES = {
    INGESTION: _INGESTION,
    INGESTION_WITH_THIRD: _INGESTION | _THIRD,
    INGESTION_BROKEN: _INGESTION | _BROKEN,
    INGESTION_SLOW: _INGESTION | _SLOW,
    EVENTHANDLER: _EVENTHANDLER,
}
"""All of them: one archive of all, which shares their base, is loaded much faster than one of each."""


def build_base(root: Path) -> str:
    """Build Mooring's own image from the checkout."""
    name = "mooring:test"
    subprocess.run(["docker", "build", "--quiet", "--tag", name, str(root)], check=True, stdout=subprocess.DEVNULL)
    return name


def build(name: str, base: str, migrations: Mapping[str, str]) -> None:
    """Build a service's image as its team would."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY migrations /migrations\n", encoding="utf-8")
        (context / "migrations").mkdir()
        for file, text in migrations.items():
            (context / "migrations" / file).write_text(text, encoding="utf-8")
        subprocess.run(["docker", "build", "--quiet", "--tag", name, folder], check=True, stdout=subprocess.DEVNULL)
