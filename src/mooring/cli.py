"""The command line: which command, and how its end becomes an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from mooring import __version__
from mooring.errors import MooringError, Terminated
from mooring.report import Report
from mooring.settings import load
from mooring.signals import end_on_sigterm
from mooring.status import status
from mooring.up import up, verify


def run(arguments: Sequence[str]) -> int:
    """Run a command; 0 is proof, every other exit code is that of a class of mooring.errors."""
    parsed = _parser().parse_args(arguments)
    if parsed.command == "demo":
        from mooring.demo import demo

        return demo()
    report = Report(stream=_log_stream(parsed.command), termination_log=Path("/dev/termination-log"))
    try:
        end_on_sigterm(lambda: report.terminated())  # noqa: PLW0108 - by the report that there is then
        settings = load()
        report = Report(
            log_format=settings.log_format,
            level=settings.log_level,
            stream=_log_stream(parsed.command),
            termination_log=settings.termination_log if parsed.command == "up" else None,
        )
        match parsed.command:
            case "up":
                up(settings, report)
            case "verify":
                verify(settings, report)
            case "status":
                status(settings, report, as_json=parsed.json)
    except MooringError as error:
        report.failed(error)
        return error.exit_code
    except Terminated as error:
        report.terminated()
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort
        report.crashed(error)
        return MooringError.exit_code
    return 0


def _log_stream(command: str) -> TextIO:
    """Where the log goes: it is what `up` and `verify` print, and would be in the way of what `status` prints."""
    return sys.stderr if command == "status" else sys.stdout


def _settings_help() -> str:
    """Every setting, for `--help` alone: nothing else should load them before it must."""
    if not {"-h", "--help"} & set(sys.argv):
        return ""
    from mooring.tool_settings import describe

    settings = (f"  {name} ({default})\n      {meaning}" for name, default, meaning in describe())
    return "settings, all from the environment:\n" + "\n".join(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mooring", description="Runs a service's PostgreSQL migrations and proves them."
    )
    parser.add_argument("--version", action="version", version=f"mooring {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "up",
        help="apply what is pending and prove that everything is there (what the image runs)",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    status = commands.add_parser("status", help="show each migration and whether it ran")
    status.add_argument("--json", action="store_true", help="print JSON, as where there is no terminal")
    commands.add_parser("verify", help="prove that everything is there, and change nothing")
    commands.add_parser("demo", help="show the failure and the fix on an embedded PostgreSQL")
    return parser
