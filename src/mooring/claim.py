"""Making a service's tables, and taking over what another tool has run."""

from __future__ import annotations

from psycopg import errors

from mooring import ledger
from mooring.errors import NotPermitted
from mooring.names import quote
from mooring.plan import Plan
from mooring.target import BEGIN, COMMIT, Target
from mooring.wire import Query, ask


def claim(target: Target, plan: Plan) -> None:
    """Make the version table and the ledger, and take over what another tool has run, in one transaction.

    Raises NotPermitted where the role cannot create tables.
    """
    table, author, history = target.table, target.author, target.history
    queries = [BEGIN]
    if plan.create:
        make_schema = target.tool.MAKES_SCHEMA and not history.schema_exists
        queries += [Query(sql) for sql in target.tool.create(table, schema_made=make_schema)] * (not history.exists)
        queries += ledger.create(table, author)
    queries += [ledger.forget(table, plan.forget)] if plan.forget else []
    queries += [ledger.adopt(table, author, migration, tables) for migration, tables in plan.adopt.items()]
    try:
        ask(target.connection, [*queries, COMMIT])
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        role = quote(target.connection.info.user)
        may_not = isinstance(error, errors.InsufficientPrivilege) and history.schema_exists
        raise NotPermitted(
            f"{target.connection.info.user} cannot make {table}: {error.diag.message_primary}",
            hint=f"GRANT USAGE, CREATE ON SCHEMA {quote(str(table.schema))} TO {role};"
            if may_not
            else f"CREATE SCHEMA {quote(str(table.schema))} AUTHORIZATION {role};",
        ) from error
