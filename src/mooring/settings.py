"""The settings: all from the environment, named MOORING_*, validated together.

Any value can also be read from a file that `<NAME>_FILE` names. A value is never shown in an error if its name says that
it is secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from mooring.errors import SettingsInvalid
from mooring.names import LONGEST, TableName, parse


PREFIX = "MOORING_"
LEDGER_SUFFIX = "_ledger"
_NOT_TO_SHOW = r"(?i)URL|PASSWORD|SECRET|TOKEN|KEY"
# What Kubernetes sets in every pod when a Service is called `mooring` (enableServiceLinks): MOORING_PORT, …
_SERVICE_LINK = r"MOORING_(SERVICE_(HOST|PORT(_.*)?)|PORT(_.*)?)"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def _duration(value: object) -> object:
    """Read `500ms`, `90s`, `10m` or `1h` as seconds."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)", value.strip())
    if not found:
        raise ValueError("is not a duration: write a number and ms, s, m or h, such as 90s or 10m")
    return float(found[1]) * _UNITS[found[2]]


def _list(value: object) -> object:
    """Read `a, b` or a JSON list."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not a JSON list: {error}") from error
    return [item for part in value.split(",") if (item := part.strip())]


def _connection(value: object) -> object:
    """A connection string that libpq can read; its own words about one that it cannot may quote the password."""
    if isinstance(value, str) and value:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            conninfo_to_dict(value)
        except ProgrammingError:
            raise ValueError(
                "is not a connection string that libpq can read: percent-encode what is special in a URL's password,"
                " or leave the setting out and set PGHOST, PGUSER, PGPASSWORD and PGDATABASE"
            ) from None
    return value


def _table(value: object) -> object:
    return parse(value) if isinstance(value, str) else value


def _version_table(value: object) -> object:
    table = _table(value)
    if isinstance(table, TableName) and len((table.name + LEDGER_SUFFIX).encode()) > LONGEST:
        raise ValueError(f"is too long: with {LEDGER_SUFFIX} behind it, it must fit into PostgreSQL's {LONGEST} bytes")
    return table


def _service(value: object) -> object:
    if isinstance(value, str) and not (value.isprintable() and value == value.strip()):
        raise ValueError("must be printable, without spaces around it")
    return value


Duration = Annotated[float, BeforeValidator(_duration), Field(ge=0, json_schema_extra={"kind": "duration"})]
"""Seconds."""
Table = Annotated[TableName, PlainValidator(_table)]
Listed = BeforeValidator(_list)


class Settings(BaseSettings):
    """What one service's init container is told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, arbitrary_types_allowed=True
    )

    service: Annotated[str, BeforeValidator(_service)] = Field(
        max_length=100, description="The service: owner of the version table, of the lock, of every log line."
    )
    version_table: Annotated[TableName | None, PlainValidator(_version_table)] = Field(
        None,
        description="The version table, `name` or `schema.name`, exactly as the catalog has it. By default the tool's name and"
        " the service's, such as `goose_ingestion`.",
    )
    migrations: Annotated[tuple[Path, ...], NoDecode, Listed] = Field(
        (Path("/migrations"),),
        min_length=1,
        description="The folder of migrations that the image carries, or a list of folders, where the tool reads several.",
    )
    format: Literal["goose", "golang-migrate", "flyway", "dbmate", "alembic"] | None = Field(
        None, description="The tool whose migrations they are: found from the folder."
    )
    ignore: Annotated[tuple[str, ...], NoDecode, Listed] = Field(
        (), description="Files of the folder to leave alone: globs, comma-separated or a JSON list."
    )
    database_url: Annotated[SecretStr | None, BeforeValidator(_connection)] = Field(
        None,
        description="Any connection string that libpq reads. What it leaves out, or all of it, comes from libpq's own"
        " `PG*` variables, password files and service files.",
    )
    expected_tables: Annotated[tuple[Table, ...], NoDecode, Listed] = Field(
        (), description="More tables that must exist afterwards, comma-separated or a JSON list."
    )
    wait: Duration = Field(60, description="How long to try to reach the database.")
    lock_wait: Duration = Field(600, description="How long to wait while another runner migrates this service.")
    lock_timeout: Duration = Field(5, description="PostgreSQL's lock_timeout: how long a statement waits for a table.")
    statement_timeout: Duration | None = Field(None, description="PostgreSQL's statement_timeout.")
    out_of_order: Annotated[tuple[str, ...], NoDecode, Listed] = Field(
        (), description="Versions that may run although newer ones already did, comma-separated."
    )
    squashed: str | None = Field(
        None, description="Recorded versions up to this one need no file any more: they were squashed away on purpose."
    )
    allow_shared_name: bool = Field(
        default=False,
        description="Lets the version table carry the tool's default name, where one service has the database.",
    )
    log_format: Literal["json", "console"] | None = Field(
        None, description="`json` or `console`: by default console on a terminal, JSON elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )
    termination_log: Path = Field(
        Path("/dev/termination-log"),
        description="Where the last word goes, if its folder is there: one line, on success too.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - this is what pydantic-settings calls
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, and the files that it names: nothing else is looked for."""
        return init_settings, env_settings

    @property
    def tool_options(self) -> Mapping[str, str]:
        """The tool's own options that are set: none of them, unless these are ToolSettings."""
        return {}


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process. Raises SettingsInvalid with every problem of every setting."""
    model = Settings
    if not _names(environment) <= _known(model):
        from mooring.tool_settings import ToolSettings  # takes time, and most services have no use for it

        model = ToolSettings
    values, problems = _from_files(environment, model)
    problems += _unknown(environment, model)
    try:
        settings = model(**values)
    except ValidationError as error:
        problems += [_problem(detail, environment) for detail in error.errors(include_url=False)]
        raise SettingsInvalid(*problems, hint=_HINT) from None
    if problems:
        raise SettingsInvalid(*problems, hint=_HINT)
    return settings


_HINT = "See `mooring up --help` for every setting."


def _names(environment: Mapping[str, str]) -> set[str]:
    """What could be a setting."""
    return {name for name in environment if name.startswith(PREFIX) and not re.fullmatch(_SERVICE_LINK, name)}


def _known(model: type[Settings]) -> set[str]:
    """What is a setting."""
    return {PREFIX + field.upper() + end for field in model.model_fields for end in ("", "_FILE")}


def _from_files(environment: Mapping[str, str], model: type[Settings]) -> tuple[dict[str, Any], list[str]]:
    """What `<NAME>_FILE` variables point to, without the newline that editors and `echo` put at a file's end."""
    values: dict[str, Any] = {}
    problems = []
    for field, info in model.model_fields.items():
        name = PREFIX + field.upper()
        path = environment.get(f"{name}_FILE")
        if not path:
            continue
        if environment.get(name):
            problems.append(f"{name} and {name}_FILE are both set: leave one of them out")
        try:
            values[field] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            problems.append(f"{name}_FILE: {path}: {reason}")
            # Any value keeps a setting whose file is unreadable from being called missing too.
            values[field] = "?" if info.is_required() else info.get_default()
    return values, problems


def _unknown(environment: Mapping[str, str], model: type[Settings]) -> list[str]:
    """MOORING_* variables that are no setting: each is most likely a typing error."""
    known = _known(model)
    unknown = sorted(_names(environment) - known)
    if not unknown:
        return []
    from difflib import get_close_matches

    near = {name: get_close_matches(name, sorted(known), n=1) for name in unknown}
    return [f"{name} is not a setting" + "".join(f"; did you mean {one}?" for one in near[name]) for name in unknown]


def _problem(detail: ErrorDetails, environment: Mapping[str, str]) -> str:
    """One of pydantic's errors in terms of the variable, with its value unless the name says that it is secret."""
    name = PREFIX + str(detail["loc"][0]).upper()
    if detail["type"] == "missing":
        return f"{name} is {'empty' if name in environment else 'missing'}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if re.search(_NOT_TO_SHOW, name):
        return f"{name}: {message}"
    return f"{name}: {detail['input']!r}: {message}"
