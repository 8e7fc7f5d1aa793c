"""The chart's values as its values.yaml documents them, and what follows from them or from Mooring's settings.

`python tests/chart/values.py` writes the table in the chart's README, and the tools' options into the schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from mooring.tool_settings import OPTIONS, ToolSettings


CHART = Path(__file__).parents[2] / "chart"
START, END = "<!-- values -->\n", "<!-- end -->"

_KEY = re.compile(r"( *)([A-Za-z]+):(.*)")


@dataclass(frozen=True)
class Value:
    """A value that has a comment or a default of its own."""

    path: str
    comment: str
    default: Any


def values() -> list[Value]:
    """Every value in the order of the file; maps that only group others are left out, their members are not."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return list(_values((CHART / "values.yaml").read_text(encoding="utf-8"), defaults))


def _values(text: str, defaults: dict[str, Any]) -> Iterator[Value]:
    comment: list[str] = []
    parents: list[str] = []
    documented = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
            continue
        found = _KEY.fullmatch(line)
        if not found:
            comment = []
            continue
        depth = len(found[1]) // 2
        parents[depth:] = [found[2]]
        path, said = ".".join(parents), " ".join(comment)
        comment = []
        groups = not found[3] and not said.startswith(f"{path} ")
        if groups or (documented and path.startswith(f"{documented}.")):
            continue
        documented = path
        yield Value(path, said, _at(defaults, parents))


def _at(defaults: dict[str, Any], path: list[str]) -> Any:  # noqa: ANN401 - a default is any value
    for key in path:
        defaults = defaults[key]
    return defaults


def table() -> str:
    """The values as a table, their comments without the name that each starts with."""
    rows = [f"| `{value.path}` | `{json.dumps(value.default)}` | {_meaning(value)} |" for value in values()]
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _meaning(value: Value) -> str:
    text = value.comment.removeprefix(value.path).strip()
    return re.sub("^(is|are) ", "", text).replace("|", "&#124;").replace("<", "&lt;")


def readme(text: str) -> str:
    """The README with the table as it should be."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    return before + start + table() + end + after


def schema(text: str) -> str:
    """The schema with the options that the tools have in Mooring's settings."""
    before, start, rest = text.partition('    "toolOptions": {\n')
    _, end, after = rest.partition("\n    },\n")
    options = (f'        "{camel_case(name)}": {_choice(ToolSettings.model_fields[name])}' for name in OPTIONS)
    lines = ['      "type": "object",', '      "additionalProperties": false,', '      "properties": {']
    return before + start + "\n".join([*lines, ",\n".join(options), "      }"]) + end + after


def _choice(info: FieldInfo) -> str:
    choices = [choice for part in get_args(info.annotation) for choice in get_args(part)]
    return json.dumps({"enum": choices} if choices else {"type": "string"})


def camel_case(field: str) -> str:
    """A setting's name as the chart spells it."""
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


if __name__ == "__main__":
    for name, written in {"README.md": readme, "values.schema.json": schema}.items():
        path = CHART / name
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
