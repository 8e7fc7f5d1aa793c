"""The tools' own options, where they change how a folder is read: under the names that the tools' users know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from mooring.settings import PREFIX, Settings


YesOrNo = Literal["true", "false"]


class ToolSettings(Settings):
    """What one tool's users may have set, too; each format says which of these are its own."""

    lock_id: str | None = Field(
        None,
        pattern=r"^-?\d+(,-?\d+)*$",
        description="The `LockID` of services that run goose as a library with a session lock: Mooring then takes it too."
        " goose's own is 4097083626, and was 5887940537704921958 before 3.26; all services of a database wait for it.",
    )
    x_multi_statement: YesOrNo | None = Field(
        None,
        description="golang-migrate's `x-multi-statement`: `true` runs each statement by itself, without a transaction.",
    )
    sql_migration_prefix: str | None = Field(None, description="Flyway's `sqlMigrationPrefix`; without it `V`.")
    repeatable_sql_migration_prefix: str | None = Field(
        None, description="Flyway's `repeatableSqlMigrationPrefix`; without it `R`."
    )
    baseline_migration_prefix: str | None = Field(
        None, description="Flyway's `baselineMigrationPrefix`; without it `B`."
    )
    sql_migration_separator: str | None = Field(None, description="Flyway's `sqlMigrationSeparator`; without it `__`.")
    sql_migration_suffixes: str | None = Field(
        None, description="Flyway's `sqlMigrationSuffixes`, comma-separated; without it `.sql`."
    )
    encoding: str | None = Field(None, description="Flyway's `encoding` of the files; without it `UTF-8`.")
    placeholder_replacement: YesOrNo | None = Field(
        None,
        description="Flyway's `placeholderReplacement`; the values are in `FLYWAY_PLACEHOLDERS_<NAME>`, as for Flyway.",
    )
    placeholder_prefix: str | None = Field(None, description="Flyway's `placeholderPrefix`; without it `${`.")
    placeholder_suffix: str | None = Field(None, description="Flyway's `placeholderSuffix`; without it `}`.")
    placeholder_separator: str | None = Field(None, description="Flyway's `placeholderSeparator`; without it `:`.")
    mixed: YesOrNo | None = Field(
        None,
        description="Flyway's `mixed`: `true` lets a file have statements that can and that cannot run in a transaction.",
    )
    target: str | None = Field(None, description="Flyway's `target`: files with a newer version are left alone.")

    version_locations: str | None = Field(
        None, description="Alembic's `version_locations`, comma-separated, below the folder; without it `versions`."
    )
    recursive_version_locations: YesOrNo | None = Field(None, description="Alembic's `recursive_version_locations`.")
    env_py: YesOrNo | None = Field(
        None,
        description="`true` runs Alembic revisions through the service's own env.py, which finds Mooring's connection in"
        " `config.attributes['connection']`.",
    )

    @property
    def tool_options(self) -> Mapping[str, str]:
        """Those that are set, under the names of their settings without MOORING_."""
        values = ((name, getattr(self, name)) for name in OPTIONS)
        return {name.upper(): value for name, value in values if value is not None}


OPTIONS = [name for name in ToolSettings.model_fields if name not in Settings.model_fields]


def describe() -> list[tuple[str, str, str]]:
    """Each setting's name, its default as one would write it, and its meaning."""
    found = []
    for field, info in ToolSettings.model_fields.items():
        default = info.default
        if info.is_required():
            text = "required"
        elif default in (None, ()):
            text = "none"
        elif isinstance(default, bool):
            text = str(default).lower()
        elif isinstance(default, tuple):
            text = ",".join(map(str, default))
        elif isinstance(default, int | float):
            text = f"{default / 60:g}m" if default % 60 == 0 and default > 60 else f"{default:g}s"  # noqa: PLR2004
        else:
            text = str(default)
        found.append((PREFIX + field.upper(), text, info.description or ""))
    return found
