"""The proof: what exit 0 stands for."""

from __future__ import annotations

from collections.abc import Iterable

from mooring.errors import HistoryDiffers, TablesMissing
from mooring.history import History
from mooring.ledger import ledger_of
from mooring.migration import Migration
from mooring.names import literal
from mooring.plan import Plan


def prove(history: History, plan: Plan, migrations: Iterable[Migration], service: str) -> None:
    """Raise TablesMissing with every expected table that is not there, HistoryDiffers if something is still pending.

    Raises HalfDone where a non-transactional migration stopped midway.
    """
    if plan.trouble:
        raise plan.trouble
    if plan.pending:
        raise HistoryDiffers(
            *(f"{migration.name} ran, but {history.table} does not say so" for migration in plan.pending)
        )
    names = {migration.version: migration.name for migration in migrations}
    makers: dict[str, str] = {}
    for table, version in history.lost:
        if version in history.applied:
            makers.setdefault(table, version)
    problems = [
        f"{table} of {service} is missing: version {version} ({names.get(version, history.entries[version].name)}) made it"
        for table, version in makers.items()
    ]
    problems += [
        f"{table} is missing: MOORING_EXPECTED_TABLES names it, and no migration of {service} makes it"
        for table in history.unmet
    ]
    if problems:
        raise TablesMissing(*problems, hint=_hint(history, makers))


def _hint(history: History, makers: Iterable[str]) -> str:
    """What to do: restore a table, or say that it is gone on purpose."""
    if not (names := list(makers)):
        return "Add the migration that makes it, or correct MOORING_EXPECTED_TABLES (name or schema.name)."
    ledger = ledger_of(history.table).sql
    return (
        f"Restore {', '.join(names)} from a backup, or make a migration that creates it again. If it is gone on purpose:"
        f" UPDATE {ledger} SET tables = array_remove(tables, {literal(names[0])});"
    )
