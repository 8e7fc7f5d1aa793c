"""What a run does when there is something to do: under the service's lock, up to what is to be proven."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from mooring import database, lock
from mooring.apply import apply
from mooring.claim import claim
from mooring.errors import LockBusy, MigrationsInvalid
from mooring.history import History
from mooring.ledger import Author
from mooring.lock import LockHeld, Patience
from mooring.migration import problems_of
from mooring.plan import Plan
from mooring.pooler import give_back, refuse_transaction_pooler
from mooring.report import Report
from mooring.run import Run
from mooring.target import Target
from mooring.watch import watching
from mooring.wire import Connection


_FIRST_PAUSE = 0.05
_KEEP_CONNECTED = 0.5
"""The longest pause between two tries at the lock that a connection is kept for."""
_LONGEST_PAUSE = 2.0


def migrate(
    run: Run, connection: Connection, before: History, plan: Plan, patience: Patience
) -> tuple[History, History, Plan, int]:
    """Do what a plan says, under the lock: the history before and after it, what is then left to do, and how much was adopted.

    Raises MooringError, LockHeld where to try again after a pause, and Overtaken where another runner was faster.
    """
    report, settings = run.report, run.settings
    if problems := problems_of([*run.folder.before, *plan.pending, *run.folder.after]):
        raise MigrationsInvalid(*problems)
    address = (connection.info.host, connection.info.port)
    if patience.checked != address:
        patience.pooled = before.server_pid != connection.info.backend_pid
        if patience.pooled:
            refuse_transaction_pooler(connection, lambda: database.open_one(settings))
        patience.checked = address
    try:
        before, plan = _locked(run, connection, before, patience)
        if plan.idle:
            return before, before, plan, 0
        with watching(connection, before.server_pid, lambda: database.open_one(settings), report) as watch:
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
            for migration, milliseconds in apply(target, run.folder, plan.pending):
                report.ran(migration.name, migration.version, milliseconds, of=len(plan.pending))
        report.doing = "proving"
        after, plan, _ = run.read(connection, before.table, *run.session(connection))
        return before, after, plan, adopted
    finally:
        if patience.pooled:
            give_back(connection)


def _locked(run: Run, connection: Connection, before: History, patience: Patience) -> tuple[History, Plan]:
    """The history and the plan once the service's lock is taken, or once another runner has done the work.

    The tool's own locks are taken with it. Raises LockBusy when MOORING_LOCK_WAIT is over, LockHeld where the wait goes on
    without a connection, HalfDone where only a person can know how to go on.
    """
    run.report.doing = "waiting for the lock"
    keys, past = _keys(run, before), before
    while True:
        new = past.owner is None and not past.exists
        past, plan, answers = run.read(connection, before.table, *run.session(connection), *lock.attempt(keys), new=new)
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
            raise LockHeld
        time.sleep(random.uniform(0.3, 1) * patience.pause)  # noqa: S311 - jitter


def _take_over(target: Target, plan: Plan, report: Report) -> int:
    """Make the tables that are not there, and say what is taken over from another tool; how much that is."""
    if plan.create or plan.adopt or plan.forget:
        claim(target, plan)
    if plan.adopt:
        versions = [migration.version for migration in plan.adopt]
        unproven = [migration.name for migration, tables in plan.adopt.items() if not tables]
        report.log.warning("adopted", message="taken over from another tool", versions=versions, unproven=unproven)
    return len(plan.adopt)


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
