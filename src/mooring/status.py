"""`mooring status`: each migration, whether it ran, when, how long it took and who ran it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mooring import database, ledger
from mooring.errors import MooringError
from mooring.formats import Format
from mooring.history import History, read
from mooring.ledger import Details
from mooring.migration import Migration
from mooring.ownership import in_order
from mooring.plan import decide
from mooring.report import Report
from mooring.run import Run, newest, prepare
from mooring.settings import Settings
from mooring.wire import ask


_COLUMNS = ("version", "file", "state", "applied_at", "duration_ms", "applied_by")


def status(settings: Settings, report: Report, *, as_json: bool) -> None:
    """Print what ran and what did not. Raises what `up` would refuse with, after printing."""
    run = prepare(settings, report)
    with run.connected() as connection:
        past, _ = read(connection, run.question(run.table), database.glance(settings))
        rows = ask(connection, [ledger.details(past.table)])[0] if past.owner is not None else []
    details = {one.version: one for one in map(Details.of, rows)}
    found: dict[str, Any] = {
        "service": settings.service,
        "format": run.tool.NAME,
        "version_table": str(past.table),
        "owner": past.owner,
        "version": newest(run, past),
        "migrations": _migrations(run, past, details),
    }
    refusal: MooringError | None = None
    try:
        refusal = decide(run.folder.migrations, past, run.tool, run.policy).trouble
    except MooringError as error:
        refusal = error
    if refusal:
        found["problems"] = list(refusal.problems)
    if as_json or not report.console:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)
    if refusal:
        raise refusal


def _migrations(run: Run, past: History, details: Mapping[str, Details]) -> list[dict[str, Any]]:
    """Every migration that has a file or a record, in order."""
    files = {migration.version: migration for migration in run.folder.migrations}
    strangers = in_order((past.applied | past.entries.keys()) - files.keys(), run.tool)
    found = []
    for version in [*files, *strangers]:
        row = details.get(version) if version in past.applied else None
        file = files[version].name if version in files else None
        found.append(
            {
                "version": version,
                "file": file or (details[version].name if version in details else None),
                "state": _state(version, files, past, run.tool),
                "applied_at": row and row.applied_at,
                "duration_ms": row and row.duration_ms,
                "applied_by": row and row.applied_by,
                "tables": row.tables if row else [],
            }
        )
    return found


def _state(version: str, files: Mapping[str, Migration], past: History, tool: Format) -> str:
    """What became of a migration, in a word or two."""
    entry, file = past.entries.get(version), files.get(version)
    if version not in past.applied:
        if version in past.told.ignored:
            return "not needed"
        return "half done" if entry and entry.done is not None else "pending" if file else "rolled back"
    if file is None:
        newest = max((migration.order for migration in files.values()), default=())
        return "ahead" if tool.order(version) > newest else "file missing"
    if entry is None:
        return "to adopt"
    return "applied" if entry.checksum == file.checksum or version in past.told.vouched else "changed"


def _print(found: dict[str, Any]) -> None:
    print(f"{found['service']}: version {found['version']} on {found['version_table']} ({found['format']})")
    rows: list[Sequence[str]] = [[name.upper().replace("_", " ") for name in _COLUMNS]]
    rows += [[str("" if row[name] is None else row[name]) for name in _COLUMNS] for row in found["migrations"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
