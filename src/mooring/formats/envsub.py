r"""Environment variables in SQL, as goose's ENVSUB writes them (github.com/mfridman/interpolate).

Its grammar is a shell's: `$NAME`, `${NAME}`, `${NAME:-when empty}`, `${NAME-when unset}`, `${NAME?why}`,
`${NAME:offset:length}`, and `$$` or `\$` for a dollar. Mooring leaves a dollar quote alone, where goose would halve it:
`$$$$` is the dollar quote that goose's users have to write, and a `$$` alone can only be meant as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


_TEXT = re.compile(r"[^$\\}]+")
_KEPT = re.compile(r"\\\\|\$\(")
_DOLLAR_QUOTE = re.compile(r"(\$\$)\$\$|(\$\$|\$[^\W\d]\w*\$(?!\w))")
_DOLLAR = re.compile(r"\$\$|\\\$")
_NAME = re.compile(r"[^\W\d_]\w*")
_SUBSTRING = re.compile(r":\s*(-?[0-9]+)\s*(?::\s*(-?[0-9]+)\s*)?\}")


def expand(line: str, environment: Mapping[str, str]) -> str:
    """A line with its variables replaced. Raises ValueError where goose would refuse it, or a required one is not set."""
    text, end = _expression(line, 0, environment, braced=False)
    return text if end == len(line) else text + line[end:]


def _expression(line: str, start: int, environment: Mapping[str, str], *, braced: bool) -> tuple[str, int]:
    """The expansion of a line from `start` to its end, or to the brace that closes what it is inside of."""
    parts: list[str] = []
    position = start
    while position < len(line) and not (braced and line[position] == "}"):
        if plain := _TEXT.match(line, position) or _KEPT.match(line, position):
            parts.append(plain.group())
            position = plain.end()
        elif not braced and (quote := _DOLLAR_QUOTE.match(line, position)):
            parts.append(quote[1] or quote[2])
            position = quote.end()
        elif dollar := _DOLLAR.match(line, position):
            parts.append("$")
            position = dollar.end()
        elif line[position] == "$" and position + 1 < len(line):
            value, position = _variable(line, position + 1, environment)
            parts.append(value)
        else:
            parts.append(line[position])
            position += 1
    return "".join(parts), position


def _variable(line: str, start: int, environment: Mapping[str, str]) -> tuple[str, int]:
    """What stands for the variable whose name, or brace, begins at `start`, and where it ends."""
    braced = line[start] == "{"
    name = _NAME.match(line, start + braced)
    if not name:
        raise ValueError(
            f"ENVSUB: no variable's name follows the $ before {line[start : start + 10]!r}; write \\$ for a dollar"
        )
    value, position = environment.get(name.group()), name.end()
    if not braced:
        return value or "", position
    if part := _SUBSTRING.match(line, position):
        return _substring(value or "", *part.groups()), part.end()
    operator = re.compile(r":-|[-?]|(?=\})").match(line, position)
    if not operator:
        raise ValueError(
            f"ENVSUB: ${{{name.group()} is followed by {line[position : position + 10]!r}, not by an operator or a brace"
        )
    other, position = _expression(line, operator.end(), environment, braced=True)
    if position == len(line):
        raise ValueError(f"ENVSUB: no brace closes ${{{name.group()}")
    match operator.group():
        case ":-":
            value = value or other
        case "-":
            value = other if value is None else value
        case "?" if value is None:
            raise ValueError(f"ENVSUB: ${name.group()}: {other or 'not set'}")
    return value or "", position + 1


def _substring(value: str, offset: str, length: str | None) -> str:
    """A part of a value; negative numbers count from its end. interpolate counts bytes, so this does too."""
    data = value.encode()
    start = int(offset)
    start = min(max(0, start + len(data) if start < 0 else start), len(data))
    if length is None:
        return data[start:].decode(errors="replace")
    end = int(length)
    end = max(start, end + len(data)) if end < 0 else start + end
    return data[start:end].decode(errors="replace")
