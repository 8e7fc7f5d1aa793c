"""One run of a command: what it was told, what the folder has, and what it asks the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

from mooring import database, formats, history
from mooring.formats import Format, Options
from mooring.history import History, Question
from mooring.migration import Folder
from mooring.names import TableName
from mooring.ownership import Policy, default_table
from mooring.plan import Plan, decide
from mooring.report import Report
from mooring.settings import Settings
from mooring.wire import Connection, Query, Row


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

    def session(self, connection: Connection) -> list[Query]:
        """What to send to a session that is to change something, and when a migration may have changed the session."""
        waits_idle = self.tool.run is not None
        return database.session(self.settings, connection.info.server_version, waits_idle=waits_idle)

    def read(
        self, connection: Connection, table: TableName, *before: Query, new: bool = False
    ) -> tuple[History, Plan, list[list[Row]]]:
        """What has run and what that means, in one round trip; and the answers to the queries `before`."""
        glance = database.glance(self.settings)
        past, answers = history.read(connection, self.question(table), glance, *before, new=new)
        return past, decide(self.folder.migrations, past, self.tool, self.policy), answers

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection, once there is one. Raises DatabaseUnreachable or NotPermitted."""
        self.report.doing = "connecting"
        waiting = self.report.waiting
        with closing(database.connect(self.settings, lambda why: waiting("database", reason=why))) as connection:
            self.report.doing = "reading what has run"
            yield connection


def prepare(settings: Settings, report: Report) -> Run:
    """Read the folder. Raises MigrationsInvalid."""
    report.bind(service=settings.service)
    options = Options(settings.migrations, settings.ignore, settings.tool_options)
    tool, folder = formats.read(options, settings.format)
    run = Run(settings, report, tool, folder, options)
    report.bind(version_table=str(run.table))
    return run


def newest(run: Run, past: History) -> str:
    """The newest version that is recorded; 0 for none."""
    places = {migration.version: place for place, migration in enumerate(run.folder.migrations)}
    beyond = len(places)
    return max(past.applied, key=lambda one: (run.tool.order(one), places.get(one, beyond)), default="0")
