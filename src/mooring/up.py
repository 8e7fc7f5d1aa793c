"""`mooring up`: the way of the data, from the folder to the proof."""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

import psycopg

from mooring import apply, database, formats, history, lock
from mooring.errors import DatabaseUnreachable, LockBusy, MigrationsInvalid, Pending
from mooring.formats import Format, Options
from mooring.history import History, Question
from mooring.ledger import Author
from mooring.migration import Folder, problems_of
from mooring.names import TableName
from mooring.ownership import Policy, default_table
from mooring.plan import Plan, decide
from mooring.proof import prove
from mooring.report import Report
from mooring.settings import Settings
from mooring.wire import Connection, Query, Row


_LOST_CONNECTIONS = 5
"""How many times a run begins again after it lost its connection."""


@dataclass(frozen=True)
class Run:
    """One run: what it was told, what the folder has, and where it reports."""

    settings: Settings
    report: Report
    tool: Format
    folder: Folder
    options: Options

    @cached_property
    def policy(self) -> Policy:
        """What the settings say about histories."""
        settings = self.settings
        return Policy(settings.service, settings.allow_shared_name, settings.out_of_order, settings.squashed)

    @cached_property
    def table(self) -> TableName:
        """The version table that the settings name."""
        return self.settings.version_table or TableName(None, default_table(self.tool, self.settings.service))

    def question(self, table: TableName) -> Question:
        """What to ask the database about a version table."""
        return Question(table, self.tool, self.folder.migrations, self.settings.expected_tables, self.options.known)

    def read(self, connection: Connection, table: TableName, *also: Query) -> tuple[History, Plan, list[list[Row]]]:
        """What has run and what that means, in one round trip; and the answers to the queries `also`."""
        session = database.session(self.settings, connection.info.server_version)
        past, answers = history.read(connection, self.question(table), *session, *also)
        return past, decide(self.folder.migrations, past, self.tool, self.policy), answers[len(session) :]


def prepare(settings: Settings, report: Report) -> Run:
    """Read the folder. Raises MigrationsInvalid."""
    report.bind(service=settings.service)
    options = Options(settings.migrations, settings.ignore, settings.tool_options)
    tool, folder = formats.read(options, settings.format)
    run = Run(settings, report, tool, folder, options)
    report.bind(version_table=str(run.table))
    return run


def up(settings: Settings, report: Report) -> None:
    """Apply what is pending and prove that everything is there. Raises MooringError."""
    run = prepare(settings, report)
    report.log.info("started", format=run.tool.NAME, files=len(run.folder.migrations))
    for attempt in range(_LOST_CONNECTIONS):
        report.doing = "connecting"
        with closing(
            database.connect(settings, lambda reason: report.waiting("database", reason=reason))
        ) as connection:
            try:
                migrate(run, connection)
            except psycopg.OperationalError as error:
                if not connection.broken:
                    raise
                report.log.warning("connection lost", reason=str(error).strip(), attempt=attempt + 1)
            else:
                return
    raise DatabaseUnreachable(
        f"the connection was lost {_LOST_CONNECTIONS} times", hint="Look at the server's log, which says why."
    )


def migrate(run: Run, connection: Connection) -> None:
    """Bring the database of a connection up to date and prove it."""
    report = run.report
    report.doing = "reading what has run"
    before, plan, _ = run.read(connection, run.table)
    report.bind(version_table=str(before.table))
    if plan.ahead:
        report.log.warning("database is ahead", message="newer than this image, which is no error", versions=plan.ahead)
    after, applied, adopted = before, 0, 0
    if not plan.idle:
        if problems := problems_of([*run.folder.before, *plan.pending, *run.folder.after]):
            raise MigrationsInvalid(*problems)
        before, plan = _locked(run, connection, before)
        after = before
    if not plan.idle:
        target = apply.Target(
            connection, run.tool, run.options, Author(run.settings.service, database.runner()), before
        )
        if plan.create or plan.adopt or plan.forget:
            apply.prepare(target, plan)
        adopted = len(plan.adopt)
        if adopted:
            unproven = [migration.name for migration, tables in plan.adopt.items() if not tables]
            report.log.warning(
                "adopted",
                message="taken over from another tool",
                versions=[m.version for m in plan.adopt],
                unproven=unproven,
            )
        report.doing = "applying migrations"
        for migration, milliseconds in apply.apply(target, run.folder, plan.pending):
            applied += 1
            report.log.info(
                "applied",
                file=migration.name,
                version=migration.version,
                duration_ms=milliseconds,
                done=applied,
                of=len(plan.pending),
            )
        report.doing = "proving"
        after, plan, _ = run.read(connection, before.table)
    prove(after, plan, run.folder.migrations, run.settings.service)
    report.done(
        _summary(run, before, after, applied, adopted), applied=applied, adopted=adopted, version=newest(run, after)
    )


def _locked(run: Run, connection: Connection, before: History) -> tuple[History, Plan]:
    """The history and the plan once the service's lock is taken, or once another runner has done the work.

    The tool's own locks are taken with it. Raises LockBusy when MOORING_LOCK_WAIT is over.
    """
    run.report.doing = "waiting for the lock"
    table = before.table
    keys = [lock.key(table), *run.tool.locks(run.options.known["facts"], run.settings.tool_options)]
    deadline = time.monotonic() + run.settings.lock_wait
    while True:
        past, plan, answers = run.read(connection, table, *lock.attempt(keys))
        taken, holder = lock.answer(answers)
        if taken and plan.trouble:
            raise plan.trouble
        if taken or plan.idle:
            return past, plan
        left = deadline - time.monotonic()
        if left <= 0:
            raise LockBusy(
                f"{table} is being migrated by {lock.describe(holder)} (waited {run.settings.lock_wait:g} s)",
                hint=f"Look what it does: SELECT * FROM pg_stat_activity WHERE pid = {holder.get('pid', '?')}; it can be ended"
                f" with SELECT pg_terminate_backend({holder.get('pid', '?')}); or wait longer with MOORING_LOCK_WAIT.",
                **holder,
            )
        run.report.waiting("lock", **holder)
        time.sleep(min(left, random.uniform(0.05, 0.25)))  # noqa: S311 - jitter


def verify(settings: Settings, report: Report) -> None:
    """The proof alone: raises what `up` would raise, Pending where it would have run something."""
    run = prepare(settings, report)
    with closing(database.connect(settings, lambda reason: report.waiting("database", reason=reason))) as connection:
        past, plan, _ = run.read(connection, run.table)
        if plan.pending:
            raise Pending(*(f"{migration.name} is not applied" for migration in plan.pending), hint="mooring up")
        prove(past, plan, run.folder.migrations, settings.service)
        report.done(f"{settings.service} {newest(run, past)}: proven on {past.table}", version=newest(run, past))


def newest(run: Run, past: History) -> str:
    """The newest version that is recorded; 0 for none."""
    return max(past.applied, key=run.tool.order, default="0")


def _summary(run: Run, before: History, after: History, applied: int, adopted: int) -> str:
    """The run in a line."""
    then, now = newest(run, before), newest(run, after)
    what = f"{applied} applied" if applied else "nothing to do"
    took_over = f", {adopted} adopted" if adopted else ""
    versions = now if then == now else f"{then}→{now}"
    return f"{run.settings.service} {versions}: {what}{took_over} in {run.report.milliseconds()} ms on {after.table}"
