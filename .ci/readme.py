"""Writes the tables of README.md that come from the code, between their markers; --check says whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from mooring import errors
from mooring.tool_settings import describe


ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def settings() -> str:
    """Every setting, its default and its meaning."""
    rows = (f"| `{name.removeprefix('MOORING_')}` | `{default}` | {meaning} |" for name, default, meaning in describe())
    return "| `MOORING_…` | default | meaning |\n| --- | --- | --- |\n" + "\n".join(rows)


def values() -> str:
    """The values file of one service, as it is."""
    return f"```yaml\n{(ROOT / 'chart/services/ingestion.yaml').read_text(encoding='utf-8').rstrip()}\n```"


def exit_codes() -> str:
    """Every exit code, from the classes that carry them."""
    classes = sorted([errors.MooringError, *errors.MooringError.__subclasses__()], key=lambda error: error.exit_code)
    rows = [(0, "", "Done and proven, whether or not something ran.")]
    rows += [(error.exit_code, *error.describe()) for error in classes]
    rows += [(143, "", "SIGTERM: the running statement is cancelled, its transaction rolled back, the lock released.")]
    lines = (f"| {code} | {summary} | {meaning} |" for code, summary, meaning in rows)
    return "| code | the log says | when |\n| --- | --- | --- |\n" + "\n".join(lines)


def main() -> int:
    """Write the tables, or compare them."""
    text = written = README.read_text(encoding="utf-8")
    for name, table in {"values": values(), "settings": settings(), "exit codes": exit_codes()}.items():
        before, start, rest = written.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        written = f"{before}{start}{table}\n{end}{after}"
    if "--check" in sys.argv:
        return int(written != text)
    README.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
