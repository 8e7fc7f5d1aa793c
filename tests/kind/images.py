"""The images of the tests: a service's migrations on top of Mooring's image."""

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
_SCHEDULER = {
    "1_create_jobs.up.sql": "CREATE TABLE jobs (id bigint PRIMARY KEY, command text NOT NULL);\n",
    "1_create_jobs.down.sql": "DROP TABLE jobs;\n",
    "2_create_runs.up.sql": "CREATE TABLE runs (job bigint REFERENCES jobs, started timestamptz);\n",
    "2_create_runs.down.sql": "DROP TABLE runs;\n",
}
_ALERTING = {
    "V1__create_rules.sql": "CREATE TABLE rules (id bigint PRIMARY KEY, threshold numeric NOT NULL);\n",
    "V2__create_alerts.sql": "CREATE TABLE alerts (rule bigint REFERENCES rules, raised timestamptz);\n",
}
_REPORTING = {
    "1_create_templates.sql": """\
-- migrate:up
CREATE TABLE templates (id bigint PRIMARY KEY, body text NOT NULL);
-- migrate:down
DROP TABLE templates;
""",
    "2_create_reports.sql": """\
-- migrate:up
CREATE TABLE reports (template bigint REFERENCES templates, made timestamptz);
-- migrate:down
DROP TABLE reports;
""",
}
_FORECASTING = {
    "versions/1_create_models.py": """\
import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade():
    op.create_table("models", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("weights", sa.LargeBinary))


def downgrade():
    op.drop_table("models")
""",
    "versions/2_create_forecasts.py": """\
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.create_table("forecasts", sa.Column("model", sa.BigInteger, sa.ForeignKey("models.id")), sa.Column("value", sa.Numeric))


def downgrade():
    op.drop_table("forecasts")
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
# Takes until ten of many replicas have met.
_MEETING = {
    "00003_meet_others.sql": """\
-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
    FOR tenth_of_a_second IN 1..1200 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN (SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'mooring ingestion') >= 10;
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$$;
-- +goose StatementEnd
"""
}
# A row, and then a minute in which somebody can disturb it; nobody takes a sequence's number back, so the next attempt is short.
_DISTURBED = {
    "00003_count_attempts.sql": """\
-- +goose Up
CREATE SEQUENCE attempts;
""",
    "00004_take_time.sql": """\
-- +goose Up
INSERT INTO readings (value) VALUES (1);
SELECT CASE nextval('attempts') WHEN 1 THEN pg_sleep(60) END;
""",
}

INGESTION = "mooring-test/ingestion:1.0.0"
INGESTION_WITH_THIRD = "mooring-test/ingestion:1.1.0"
INGESTION_BROKEN = "mooring-test/ingestion:1.1.0-broken"
INGESTION_MEETING = "mooring-test/ingestion:1.1.0-meeting"
INGESTION_DISTURBED = "mooring-test/ingestion:1.1.0-disturbed"
EVENTHANDLER = "mooring-test/eventhandler:1.0.0"
SCHEDULER = "mooring-test/scheduler:1.0.0"
ALERTING = "mooring-test/alerting:1.0.0"
REPORTING = "mooring-test/reporting:1.0.0"
FORECASTING = "mooring-test/forecasting:1.0.0"

IMAGES = {
    INGESTION: _INGESTION,
    INGESTION_WITH_THIRD: _INGESTION | _THIRD,
    INGESTION_BROKEN: _INGESTION | _BROKEN,
    INGESTION_MEETING: _INGESTION | _MEETING,
    INGESTION_DISTURBED: _INGESTION | _DISTURBED,
    EVENTHANDLER: _EVENTHANDLER,
    SCHEDULER: _SCHEDULER,
    ALERTING: _ALERTING,
    REPORTING: _REPORTING,
    FORECASTING: _FORECASTING,
}
"""All of them: one archive of all, which shares their base, is loaded much faster than one of each."""


def build_base(root: Path, target: str) -> str:
    """Build one of Mooring's own images from the checkout."""
    name = f"{target}:test"
    _build(str(root), f"--target={target}", f"--tag={name}")
    return name


def build(name: str, base: str, migrations: Mapping[str, str]) -> None:
    """Build a service's image as its team would."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY migrations /migrations\n", encoding="utf-8")
        for file, text in migrations.items():
            path = context / "migrations" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _build(folder, f"--tag={name}")


def _build(context: str, *options: str) -> None:
    subprocess.run(["docker", "build", "--quiet", *options, context], check=True, stdout=subprocess.DEVNULL)
