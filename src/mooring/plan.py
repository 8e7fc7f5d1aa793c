"""The decision: from the folder and the history to what runs, or to one refusal that names every problem.

Pure: it reads no file but those of migrations that another tool has recorded, and needs no database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mooring import ownership
from mooring.errors import HalfDone, HistoryDiffers
from mooring.formats import Format
from mooring.history import History
from mooring.ledger import ledger_of
from mooring.migration import Migration
from mooring.names import TableName
from mooring.ownership import Policy, in_order, squashed


@dataclass(frozen=True)
class Plan:
    """What to do; nothing, most of the time."""

    create: bool = False
    """Whether the ledger, and the version table if it is not there, must be made."""
    adopt: Mapping[Migration, Collection[TableName]] = field(default_factory=dict)
    """The migrations that another tool has run, with the tables that are the evidence."""
    forget: Collection[str] = ()
    """The versions that are in the ledger and that another tool has rolled back."""
    pending: Sequence[Migration] = ()
    """What runs, in this order."""
    ahead: Sequence[str] = ()
    """The versions that are newer than every file: an older image runs on a newer database, which is no error."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.create or self.adopt or self.forget or self.pending)


def decide(migrations: Sequence[Migration], history: History, tool: Format, policy: Policy) -> Plan:
    """What to do, given what the folder has and what has run.

    Raises ForeignVersionTable if the version table is another service's, HistoryDiffers if what has run is not what the
    folder has, HalfDone if a non-transactional migration cannot be gone on with.
    """
    ownership.refuse_foreign(history, tool, policy)
    files = {migration.version: migration for migration in migrations}
    known = {version for version in history.applied if version in history.entries}
    adopt = [migration for migration in migrations if migration.version in history.applied - known]
    evidence = ownership.evidence(adopt, migrations, history, tool, policy)
    ownership.refuse_shared_name(history, tool, policy)
    ahead = _refuse_different(files, known, history, tool, policy)
    pending = [migration for migration in migrations if migration.version not in history.applied]
    half_done = {migration.version for migration in pending if _goes_on(migration, history)}
    return Plan(
        create=history.owner is None,
        adopt=evidence,
        forget=tuple(v for v in history.entries if v not in history.applied and v not in half_done),
        pending=tuple(pending),
        ahead=tuple(ahead),
    )


def _refuse_different(
    files: Mapping[str, Migration], known: Collection[str], history: History, tool: Format, policy: Policy
) -> list[str]:
    """The recorded versions that are newer than every file.

    Raises HistoryDiffers with each that is changed, missing or out of order.
    """
    newest_file = max(migration.order for migration in files.values())
    newest = max((tool.order(version) for version in history.applied), default=())
    allowed = {tool.order(version) for version in policy.out_of_order}
    problems, hints = [], []
    if history.entries and not history.exists:
        problems.append(
            f"the version table {history.table} is gone, but its ledger knows {len(history.entries)} migrations"
        )
        hints.append(f"Restore {history.table} from a backup.")
    for version in in_order(known, tool):
        entry, migration = history.entries[version], files.get(version)
        if migration and migration.checksum != entry.checksum:
            problems.append(
                f"{migration.name} is not the file that ran as version {version}: its SHA-256 begins with"
                f" {migration.checksum[:8]}, recorded is {entry.checksum[:8]}"
            )
            hints.append("Put the file back as it ran, and the change into a new migration.")
        if not migration and tool.order(version) < newest_file and not squashed(version, tool, policy):
            problems.append(f"{entry.name} ran as version {version}, and there is no such file any more")
            hints.append(f"Put the file back, or set MOORING_SQUASHED={version} if it was squashed away on purpose.")
    for version, migration in files.items():
        if version not in history.applied and migration.order < newest and migration.order not in allowed:
            last = next(one for one in history.applied if tool.order(one) == newest)
            problems.append(f"{migration.name} is numbered below {last}, which ran already")
            hints.append(
                f"Give it a number above {last}, or set MOORING_OUT_OF_ORDER={version} to run it all the same."
            )
    if problems:
        raise HistoryDiffers(*problems, hint="\n".join(dict.fromkeys(hints)))
    return [version for version in in_order(history.applied, tool) if tool.order(version) > newest_file]


def _goes_on(migration: Migration, history: History) -> bool:
    """Whether a pending migration was begun before and goes on. Raises HalfDone where it cannot."""
    entry = history.entries.get(migration.version)
    if entry is None or entry.done is None:
        return False
    if entry.checksum != migration.checksum:
        raise HalfDone(
            f"{migration.name} was changed after its first {entry.done} statements had run",
            hint="Put the file back as it was, and the change into a new migration.",
        )
    if entry.doing:
        raise HalfDone(
            f"{migration.name}: statement {entry.done + 1} was begun outside a transaction, and nobody knows whether it is done",
            hint=f"Look whether it is done. Then: UPDATE {ledger_of(history.table).sql} SET doing = false,"
            f" done = {entry.done} + (1 if it is done) WHERE version = '{migration.version}';",
        )
    return True
