"""The decision: from the folder and the history to what runs, or to one refusal that names every problem.

Pure: it reads no file but those of migrations that another tool has recorded, and needs no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from mooring import ownership
from mooring.errors import HalfDone, HistoryDiffers
from mooring.formats import Format
from mooring.history import History
from mooring.ledger import ledger_of
from mooring.migration import Migration
from mooring.names import TableName, literal
from mooring.ownership import Policy, in_order, squashed
from mooring.resume import recoverable


class Plan(NamedTuple):
    """What to do; nothing, most of the time."""

    create: bool = False
    """Whether the ledger, and the version table if it is not there, must be made."""
    adopt: Mapping[Migration, Collection[TableName]] = MappingProxyType({})
    """The migrations that another tool has run, with the tables that are the evidence."""
    forget: Collection[str] = ()
    """The versions that are in the ledger and that another tool has rolled back."""
    pending: Sequence[Migration] = ()
    """What runs, in this order."""
    ahead: Sequence[str] = ()
    """The versions that are newer than every file: an older image runs on a newer database, which is no error."""
    trouble: HalfDone | None = None
    """Why nobody can go on, unless somebody just does: only who has the lock can know, and is to raise it."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.create or self.adopt or self.forget or self.pending or self.trouble)


def decide(migrations: Sequence[Migration], history: History, tool: Format, policy: Policy) -> Plan:
    """What to do, given what the folder has and what has run.

    Raises ForeignVersionTable if the version table is another service's, HistoryDiffers if what has run is not what the
    folder has.
    """
    ownership.refuse_foreign(history, tool, policy)
    told, applied = history.told, history.applied
    adopt = [one for one in migrations if one.version in applied and one.version not in history.entries]
    evidence = ownership.evidence(adopt, migrations, history, tool, policy)
    ownership.refuse_shared_name(history, tool, policy)
    files = {migration.version: migration for migration in migrations}
    _refuse_different(files, history, tool, policy)
    settled = applied | told.ignored
    pending = tuple(one for one in migrations if one.version not in settled)
    half_done = {
        one.version for one in pending if one.version in history.entries and not history.entries[one.version].complete
    }
    explained = applied | half_done
    newest_file = max((migration.order for migration in migrations), default=())
    strangers = in_order(applied - files.keys(), tool)
    return Plan(
        create=history.owner is None,
        adopt=evidence,
        forget=tuple(version for version in history.entries if version not in explained),
        pending=pending,
        ahead=tuple(version for version in strangers if tool.order(version) > newest_file),
        trouble=_trouble(pending, history, tool),
    )


def _refuse_different(files: Mapping[str, Migration], history: History, tool: Format, policy: Policy) -> None:
    """Raise HistoryDiffers with each recorded migration that is changed or missing, and each new one out of order."""
    told = history.told
    problems = list(told.differs.values())
    hints = [_CHANGED] * bool(problems)
    if history.entries and not history.exists:
        problems.append(
            f"the version table {history.table} is gone, but its ledger knows {len(history.entries)} migrations"
        )
        hints.append(f"Restore {history.table} from a backup.")
    newest_file = max((migration.order for migration in files.values()), default=())
    for version in in_order(history.applied & history.entries.keys(), tool):
        entry, migration = history.entries[version], files.get(version)
        if migration is None:
            if tool.order(version) < newest_file and not squashed(version, tool, policy):
                problems.append(f"{entry.name} ran as version {version}, and there is no such file any more")
                hints.append(
                    f"Put the file back, or set MOORING_SQUASHED={version} if it was squashed away on purpose."
                )
        elif migration.checksum != entry.checksum and version not in told.vouched and version not in told.differs:
            problems.append(
                f"{migration.name} is not the file that ran as version {version}: its SHA-256 begins with"
                f" {migration.checksum[:8]}, recorded is {entry.checksum[:8]}"
            )
            hints.append(_CHANGED)
    late = _late(files, history, tool, policy)
    if late:
        newest = in_order(history.applied, tool)[-1]
        problems += [f"{migration.name} is numbered below {newest}, which ran already" for migration in late]
        hints.append(
            f"Give it a number above {newest}, or set MOORING_OUT_OF_ORDER={','.join(one.version for one in late)} to run it"
            " all the same."
        )
    if problems:
        raise HistoryDiffers(*problems, hint="\n".join(dict.fromkeys(hints)))


_CHANGED = "Put the file back as it ran, and the change into a new migration."


def _late(files: Mapping[str, Migration], history: History, tool: Format, policy: Policy) -> list[Migration]:
    """The migrations that are new and stand before one that ran."""
    places = (files[version].order if version in files else tool.order(version) for version in history.applied)
    newest = max(places, default=())
    allowed = {tool.order(version) for version in policy.out_of_order}
    settled = history.applied | history.told.ignored
    return [
        migration
        for version, migration in files.items()
        if version not in settled
        and migration.order
        and migration.order < newest
        and tool.order(version) not in allowed
    ]


def _can_find_out(migration: Migration, number: int, tool: Format) -> bool:
    """Whether the catalog tells what became of a statement, so that a run can go on."""
    units = migration.script.units
    return tool.run is None and number <= len(units) and recoverable(units[number - 1][0])


def _trouble(pending: Sequence[Migration], history: History, tool: Format) -> HalfDone | None:
    """What keeps a non-transactional migration that was begun before from going on."""
    if history.told.stuck:
        problem, hint = history.told.stuck
        return HalfDone(problem, hint=hint)
    for migration in pending:
        entry = history.entries.get(migration.version)
        if entry is None or entry.complete:
            continue
        if entry.checksum != migration.checksum and (entry.done or entry.doing):
            return HalfDone(
                f"{migration.name} was changed after its first {entry.done} statements had run",
                hint="Put the file back as it was, and the change into a new migration.",
            )
        number = (entry.done or 0) + 1
        if entry.doing and not _can_find_out(migration, number, tool):
            return HalfDone(
                f"{migration.name}: statement {number} was begun outside a transaction, and nobody knows whether it is done",
                hint=f"Look whether it is done. If it is: UPDATE {ledger_of(history.table).sql} SET doing = false, done ="
                f" {number} WHERE version = {literal(migration.version)}; if it is not, the same with done = {number - 1}.",
            )
    return None
