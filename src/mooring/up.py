"""`mooring up`: the way of the data, from the folder to the proof."""

from __future__ import annotations

import random
import time

import psycopg
from psycopg import errors

from mooring.errors import DatabaseUnreachable, LockBusy, Pending
from mooring.history import History
from mooring.lock import LockHeld, Overtaken, Patience
from mooring.plan import Plan
from mooring.proof import prove
from mooring.report import Report
from mooring.run import Run, newest, prepare
from mooring.settings import Settings
from mooring.wire import Connection


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


def up(settings: Settings, report: Report) -> None:
    """Apply what is pending and prove that everything is there. Raises MooringError."""
    run = prepare(settings, report)
    report.doing = "connecting"  # before it is said that the run has started, so that a SIGTERM after that tells no lie
    report.log.info("started", format=run.tool.NAME, files=len(run.folder.migrations))
    left, applied, patience = _BEGINNINGS, 0, Patience(settings.lock_wait)
    while left:
        with run.connected() as connection:
            try:
                _migrate(run, connection, patience)
            except LockHeld:
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


def _migrate(run: Run, connection: Connection, patience: Patience) -> None:
    """Bring the database of a connection up to date and prove it. Raises LockHeld where to try again after a pause."""
    before, plan = _look(run, connection)
    run.report.bind(version_table=str(before.table))
    if plan.ahead:
        message = "newer than this image, which is no error"
        run.report.log.warning("database is ahead", message=message, versions=plan.ahead)
    after, adopted = before, 0
    if not plan.idle:
        from mooring.migrate import migrate  # takes time, and most runs have no use for it

        before, after, plan, adopted = migrate(run, connection, before, plan, patience)
    prove(after, plan, run.folder.migrations, run.settings.service)
    run.report.done(
        _summary(run, before, after, adopted), applied=run.report.applied, adopted=adopted, version=newest(run, after)
    )


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
