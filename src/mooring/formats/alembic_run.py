"""Running revisions through Alembic's own API, each with its ledger row in one transaction.

Without the application's env.py, unless a setting asks for it: what it would import is mostly not in the image.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import TransactionStatus

from mooring import ledger
from mooring.errors import MigrationsInvalid
from mooring.formats import Options
from mooring.formats.alembic import locations
from mooring.lexer import Statement
from mooring.migration import Migration
from mooring.target import Failure, Target, as_ourselves, ledger_row
from mooring.wire import Query


try:
    import sqlalchemy
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine.interfaces import BindTyping
except ModuleNotFoundError as error:
    raise MigrationsInvalid(
        f"these are Alembic revisions, and {error.name} is not installed",
        hint="Build the service's image FROM mooring-alembic, or pip install 'mooring[alembic]'.",
    ) from None


def _environment(config: Config, script: ScriptDirectory, ours: dict[str, Any], **options: Any) -> EnvironmentContext:
    """Alembic's environment, told which table to keep and what to call, whatever an env.py configures beside it.

    Not a class of Mooring's own: `alembic.context`, from which an env.py has its functions, knows Alembic's alone.
    """
    environment = EnvironmentContext(config, script, **options)

    def configure(*args: Any, **theirs: Any) -> None:
        callbacks = theirs.pop("on_version_apply", None) or ()
        callbacks = (*(callbacks if isinstance(callbacks, list | tuple) else (callbacks,)), ours["on_version_apply"])
        EnvironmentContext.configure(environment, *args, **(theirs | ours | {"on_version_apply": callbacks}))

    environment.configure = configure  # type: ignore[method-assign]
    return environment


def run(target: Target, pending: Sequence[Migration], options: Options) -> Iterator[tuple[Migration, int]]:
    """Run revisions one by one, in Alembic's order; yield each with its milliseconds when it is committed.

    Raises Failure for one that fails, MigrationsInvalid where a file cannot be imported.
    """
    script = ScriptDirectory(
        options.folders[0],
        version_locations=list(locations(options.folders, options.tool)),
        recursive_version_locations=options.tool.get("RECURSIVE_VERSION_LOCATIONS") == "true",
    )
    files = {migration.version: migration for migration in pending}
    try:
        heads = script.get_heads()
    except Exception as error:
        raise _unimportable(error) from error
    engine = _engine(target.connection)
    for _ in pending:
        with _connection(engine, target.connection) as connection:
            yield _step(target, options, script, heads, files, connection)


def _step(  # noqa: PLR0913, PLR0917 - what one step of Alembic's needs
    target: Target,
    options: Options,
    script: ScriptDirectory,
    heads: Sequence[str],
    files: dict[str, Migration],
    connection: sqlalchemy.Connection,
) -> tuple[Migration, int]:
    """Run the next revision. Raises Failure."""
    ran: list[tuple[Migration, int]] = []
    begun = time.monotonic()

    def next_one(revision: Any, context: Any) -> list[Any]:
        [step, *_] = script._upgrade_revs(tuple(heads), revision)  # type: ignore[arg-type] # noqa: SLF001 - as in its cookbook
        migration = files[str(step.info.up_revision_id)]
        ran.append((migration, 0))
        if not migration.script.transactional:
            # What stands before an autocommit block is committed by it, without a word in any table.
            _execute(context.connection, ledger.begin(target.table, target.author, migration, done=0))
            context.connection.commit()
        return [step]

    def record(ctx: Any, **_step: object) -> None:
        migration, _ = ran[-1]
        for query in (as_ourselves(), *ledger_row(target, migration)):
            _execute(ctx.connection, query)

    ours = {
        "version_table": target.table.name,
        "version_table_schema": target.table.schema,
        "transaction_per_migration": True,
        "on_version_apply": record,
    }
    ini = Path(options.folders[0], "alembic.ini")
    config = Config(ini if ini.is_file() else None)
    config.set_main_option("script_location", str(options.folders[0]).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.set_main_option("sqlalchemy.url", _url(target.connection).replace("%", "%%"))
    try:
        with _environment(config, script, ours, fn=next_one) as environment:
            if options.tool.get("ENV_PY") == "true":
                script.run_env()
            else:
                environment.configure(connection=connection)
                with environment.begin_transaction():
                    environment.run_migrations()
        if connection.in_transaction():
            # The revision committed through SQLAlchemy, after which Alembic does not: its row would be rolled back silently.
            connection.commit()
    except Exception as error:
        raise _failure(error, ran[-1][0] if ran else next(iter(files.values())), target.connection) from error
    return ran[-1][0], round((time.monotonic() - begun) * 1000)


class _Values(Dumper):
    """A tuple as psycopg2 writes one, and as IN takes it: (1, 2)."""

    def dump(self, obj: tuple[object, ...]) -> bytes:
        """Its text, which is put into the statement as it is."""
        return b"(%s)" % b", ".join(psycopg.sql.Literal(one).as_bytes(self.connection) for one in obj)

    quote = dump


def _engine(raw: psycopg.Connection[Any]) -> sqlalchemy.Engine:
    """SQLAlchemy with Mooring's own connection: a runner has one connection, and the lock is on it.

    It does as psycopg2 does, for which most revisions are written: values are put into the statement without a type, and
    after a COMMIT among the statements the others commit on their own.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: raw, poolclass=sqlalchemy.StaticPool, use_native_hstore=False
    )
    engine.dialect.bind_typing = BindTyping.NONE

    def stay_outside(*_: object) -> None:
        if raw.info.transaction_status == TransactionStatus.IDLE and not raw.autocommit:
            raw.autocommit = True

    sqlalchemy.event.listen(engine, "after_cursor_execute", stay_outside)
    return engine


@contextmanager
def _connection(engine: sqlalchemy.Engine, raw: psycopg.Connection[Any]) -> Iterator[sqlalchemy.Connection]:
    """The connection as a revision finds it; and as Mooring had it, afterwards."""
    factory = raw.cursor_factory
    raw.autocommit = False
    raw.cursor_factory = psycopg.ClientCursor
    raw.adapters.register_dumper(tuple, _Values)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        if not raw.closed:
            raw.rollback()
            raw.autocommit = True
            raw.cursor_factory = factory


def _url(raw: psycopg.Connection[Any]) -> str:
    """Where Mooring is connected to, for an env.py that connects by itself, as those that Alembic generates do."""
    parameters = raw.info.get_parameters()
    user, database = parameters.pop("user", None), parameters.pop("dbname", None)
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", user, raw.info.password or None, database=database, query=parameters
    )
    return url.render_as_string(hide_password=False)


def _execute(connection: sqlalchemy.Connection, query: Query) -> None:
    """Send one of Mooring's own queries over a connection of SQLAlchemy's, whatever driver that has."""
    text = re.sub(r"\$(\d+)", r":p\1 ", query.sql)  # with a space, or a cast behind it hides it
    connection.execute(sqlalchemy.text(text), {f"p{number}": value for number, value in enumerate(query.values, 1)})


def _place(error: BaseException, migration: Migration) -> Statement | None:
    """The line of the revision's file in which an error arose."""
    name = Path(migration.name).name
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename).name == name]
    return Statement(migration.source, "", lines[-1] or 1, 1, ()) if lines else None


def _failure(error: Exception, migration: Migration, connection: psycopg.Connection[Any]) -> Exception:
    """An error of the database's, or of the revision's own code, as Mooring reports it."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else None
    if connection.closed and isinstance(cause, psycopg.OperationalError):
        return cause
    if not isinstance(cause, psycopg.Error):
        cause = psycopg.ProgrammingError(f"{type(error).__name__}: {error}")
    return Failure(migration, _place(error, migration), cause)


def _unimportable(error: Exception) -> MigrationsInvalid:
    """Why a revision cannot be imported."""
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename.endswith(".py")]
    last = frames[-1]
    return MigrationsInvalid(
        f"{Path(last.filename).name}:{last.lineno}: {type(error).__name__}: {error}",
        hint="Mooring runs revisions without the application. Let the revision not import it, or add to the image what it"
        " imports.",
    )
