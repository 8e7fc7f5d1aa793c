"""`mooring up`: the way of the data, from the folder to the proof."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import errors

from mooring import apply, database, lock
from mooring.apply import Overtaken, Target
from mooring.errors import DatabaseUnreachable, LockBusy, MigrationsInvalid, Pending
from mooring.history import History
from mooring.ledger import Author
from mooring.migration import problems_of
from mooring.plan import Plan
from mooring.pooler import give_back, refuse_transaction_pooler, server_process
from mooring.proof import prove
from mooring.report import Report
from mooring.run import Run, newest, prepare
from mooring.settings import Settings
from mooring.watch import watching
from mooring.wire import Connection


_FIRST_PAUSE = 0.05
_KEEP_CONNECTED = 0.5
"""The longest pause between two tries at the lock that a connection is kept for."""
_LONGEST_PAUSE = 2.0
_BEGINNINGS = 5
"""How many times a run begins again, without having got any further, after it lost its connection."""
# The server ends the session, or is no primary any more, or somebody keeps the version table to himself: what another
# attempt may find better.
_PASSING = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
    errors.ReadOnlySqlTransaction,
    errors.LockNotAvailable,
)


class _LockHeld(Exception):
    """Another runner has the service's lock, and may have it for long."""


@dataclass
class _Patience:
    """A run's wait for the service's lock, which may take many connections: others need them more than one that waits."""

    seconds: float
    """MOORING_LOCK_WAIT."""
    deadline: float = 0.0
    """When it is over; 0 while there is nothing to wait for."""
    pause: float = 0.0
    """Seconds until the lock is tried again: longer each time, because each try costs the server something."""
    checked: tuple[str, int] | None = None
    """The address behind which there is no pooler that would give the session away."""
    pooled: bool = False
    """Whether there is one that does not."""

    def over(self) -> None:
        """The lock is taken, or not needed."""
        self.deadline = self.pause = 0.0

    def wait(self) -> float:
        """Begin the wait, or go on with it; the seconds that are left."""
        self.deadline = self.deadline or time.monotonic() + self.seconds
        return self.deadline - time.monotonic()


def up(settings: Settings, report: Report) -> None:
    """Apply what is pending and prove that everything is there. Raises MooringError."""
    run = prepare(settings, report)
    report.log.info("started", format=run.tool.NAME, files=len(run.folder.migrations))
    left, applied, patience = _BEGINNINGS, 0, _Patience(settings.lock_wait)
    while left:
        with run.connected() as connection:
            try:
                migrate(run, connection, patience)
            except _LockHeld:
                report.doing = "waiting for the lock"
            except (psycopg.Error, Overtaken) as error:
                if not (isinstance(error, (*_PASSING, Overtaken)) or connection.broken):
                    raise
                left = left - 1 if report.applied == applied else _BEGINNINGS
                applied = report.applied
                report.log.warning("beginning again", reason=str(error).strip())
            else:
                return
        time.sleep(random.uniform(0.3, 1) * (patience.pause or 0.3))  # noqa: S311 - jitter
    raise DatabaseUnreachable(
        f"the connection was lost {_BEGINNINGS} times in a row", hint="Look at the server's log, which says why."
    )


def migrate(run: Run, connection: Connection, patience: _Patience) -> None:
    """Bring the database of a connection up to date and prove it. Raises _LockHeld where to try again after a pause."""
    try:
        _migrate(run, connection, patience)
    finally:
        if patience.pooled:
            give_back(connection)


def _migrate(run: Run, connection: Connection, patience: _Patience) -> None:
    report, settings = run.report, run.settings
    before, plan = _look(run, connection)
    report.bind(version_table=str(before.table))
    if plan.ahead:
        report.log.warning("database is ahead", message="newer than this image, which is no error", versions=plan.ahead)
    after, adopted = before, 0
    if not plan.idle:
        if problems := problems_of([*run.folder.before, *plan.pending, *run.folder.after]):
            raise MigrationsInvalid(*problems)
        address = (connection.info.host, connection.info.port)
        if patience.checked != address:
            patience.pooled = refuse_transaction_pooler(connection, lambda: database.open_one(settings))
            patience.checked = address
        before, plan = _locked(run, connection, before, patience)
        after = before
    if not plan.idle:
        pid = server_process(connection) if patience.pooled else connection.info.backend_pid
        with watching(connection, pid, lambda: database.open_one(settings), report) as watch:
            target = Target(
                connection=connection,
                tool=run.tool,
                options=run.options,
                author=Author(settings.service, database.runner()),
                history=before,
                watch=watch,
                lock_timeout=settings.lock_timeout,
                restore=lambda: _restore(run, connection, before),
            )
            adopted = _take_over(target, plan, report)
            report.doing = "applying migrations"
            for migration, milliseconds in apply.apply(target, run.folder, plan.pending):
                report.ran(migration.name, migration.version, milliseconds, of=len(plan.pending))
        report.doing = "proving"
        after, plan, _ = run.read(connection, before.table, *run.session(connection))
    prove(after, plan, run.folder.migrations, settings.service)
    report.done(
        _summary(run, before, after, adopted), applied=report.applied, adopted=adopted, version=newest(run, after)
    )


def _take_over(target: Target, plan: Plan, report: Report) -> int:
    """Make the tables that are not there, and say what is taken over from another tool; how much that is."""
    if plan.create or plan.adopt or plan.forget:
        apply.prepare(target, plan)
    if plan.adopt:
        versions = [migration.version for migration in plan.adopt]
        unproven = [migration.name for migration, tables in plan.adopt.items() if not tables]
        report.log.warning("adopted", message="taken over from another tool", versions=versions, unproven=unproven)
    return len(plan.adopt)


def _look(run: Run, connection: Connection) -> tuple[History, Plan]:
    """What has run, and what that means, as soon as nobody keeps the version table to himself. Raises LockBusy."""
    deadline = time.monotonic() + run.settings.lock_wait
    while True:
        try:
            past, plan, _ = run.read(connection, run.table)
        except errors.LockNotAvailable as error:
            if time.monotonic() > deadline:
                raise LockBusy(f"{run.table} is locked by others, and cannot even be read") from error
            run.report.waiting("version table")
        else:
            return past, plan


def _locked(run: Run, connection: Connection, before: History, patience: _Patience) -> tuple[History, Plan]:
    """The history and the plan once the service's lock is taken, or once another runner has done the work.

    The tool's own locks are taken with it. Raises LockBusy when MOORING_LOCK_WAIT is over, _LockHeld where the wait goes on
    without a connection, HalfDone where only a person can know how to go on.
    """
    run.report.doing = "waiting for the lock"
    keys = _keys(run, before)
    while True:
        past, plan, answers = run.read(connection, before.table, *run.session(connection), *lock.attempt(keys))
        taken, holder = lock.answer(answers)
        if taken and plan.trouble:
            raise plan.trouble
        if taken or plan.idle:
            patience.over()
            return past, plan
        left = patience.wait()
        foreign = _foreign(run, holder)
        if left <= 0:
            raise LockBusy(
                f"{before.table} is being migrated by {lock.describe(holder)} (waited {run.settings.lock_wait:g} s)",
                *foreign,
                hint=f"Look what it does: SELECT * FROM pg_stat_activity WHERE pid = {holder.get('pid', '?')}; it can be ended"
                f" with SELECT pg_terminate_backend({holder.get('pid', '?')}); or wait longer with MOORING_LOCK_WAIT.",
                **holder,
            )
        run.report.waiting("lock", **holder, **({"message": foreign[0]} if foreign else {}))
        patience.pause = min(left, _LONGEST_PAUSE, max(_FIRST_PAUSE, patience.pause * 1.5))
        if patience.pause > _KEEP_CONNECTED:
            raise _LockHeld
        time.sleep(random.uniform(0.3, 1) * patience.pause)  # noqa: S311 - jitter


def _foreign(run: Run, holder: Mapping[str, str]) -> list[str]:
    """What to say where the lock's holder is another service's runner: their locks have the same key."""
    application, own = holder.get("application", ""), database.application(run.settings.service)
    # The server shows letters that are not ASCII in its own way.
    if not application.startswith("mooring ") or application == own or not own.isascii():
        return []
    return [
        f"{application.removeprefix('mooring ')} is another service, whose lock has the same key: it has the same version"
        " table, or the same lock of its tool"
    ]


def _keys(run: Run, past: History) -> list[int]:
    """The locks of the service and of its tool."""
    return [lock.key(past.table), *run.tool.locks(run.options.known["facts"], run.settings.tool_options)]


def _restore(run: Run, connection: Connection, past: History) -> bool:
    """Settings and lock as before a statement that discards both; whether nobody else took the lock meanwhile."""
    _, _, answers = run.read(connection, past.table, *run.session(connection), *lock.attempt(_keys(run, past)))
    return lock.answer(answers)[0]


def verify(settings: Settings, report: Report) -> None:
    """The proof alone: raises what `up` would raise, Pending where it would have run something."""
    run = prepare(settings, report)
    with run.connected() as connection:
        past, plan = _look(run, connection)
        if plan.pending:
            raise Pending(*(f"{migration.name} is not applied" for migration in plan.pending), hint="mooring up")
        prove(past, plan, run.folder.migrations, settings.service)
        report.done(f"{settings.service} {newest(run, past)}: proven on {past.table}", version=newest(run, past))


def _summary(run: Run, before: History, after: History, adopted: int) -> str:
    """The run in a line."""
    then, now = newest(run, before), newest(run, after)
    applied = run.report.applied
    what = f"{applied} applied" if applied else "nothing to do"
    took_over = f", {adopted} adopted" if adopted else ""
    versions = now if then == now else f"{then}→{now}"
    return f"{run.settings.service} {versions}: {what}{took_over} in {run.report.milliseconds()} ms on {after.table}"
