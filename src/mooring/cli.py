"""The command line: which command, and how its end becomes an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from mooring import __version__
from mooring.errors import MooringError, Terminated


def main() -> NoReturn:
    """Run a command and exit: 0 is proof, every other code is a class of mooring.errors."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _terminate)
    if arguments.command == "demo":
        from mooring.demo import demo

        sys.exit(demo())
    sys.exit(_run(arguments.command, as_json=getattr(arguments, "json", False)))


def _run(command: str, *, as_json: bool) -> int:
    from mooring.report import Report
    from mooring.settings import load

    stream = sys.stderr if command == "status" else sys.stdout
    report = Report(
        log_format=os.environ.get("MOORING_LOG_FORMAT"),
        termination_log=Path(os.environ.get("MOORING_TERMINATION_LOG") or "/dev/termination-log"),
        stream=stream,
    )
    try:
        settings = load()
        if command != "up":
            report = Report(log_format=settings.log_format, level=settings.log_level, stream=stream)
        else:
            report = Report(
                log_format=settings.log_format,
                level=settings.log_level,
                termination_log=settings.termination_log,
                stream=stream,
            )
        if command == "status":
            from mooring.status import status

            status(settings, report, as_json=as_json)
        else:
            from mooring.up import up, verify

            (up if command == "up" else verify)(settings, report)
    except MooringError as error:
        report.failed(error)
        return error.exit_code
    except Terminated as error:
        report.terminated()
        return int(str(error.code))
    except Exception as error:  # noqa: BLE001 - the last resort
        report.crashed(error)
        return 1
    return 0


def _terminate(_signal: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mooring", description="Runs a service's PostgreSQL migrations and proves them.")
    parser.add_argument("--version", action="version", version=f"mooring {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="apply what is pending and prove that everything is there (what the image runs)")
    status = commands.add_parser("status", help="show each migration and whether it ran")
    status.add_argument("--json", action="store_true", help="print JSON, as where there is no terminal")
    commands.add_parser("verify", help="prove that everything is there, and change nothing")
    commands.add_parser("demo", help="show the failure and the fix on an embedded PostgreSQL")
    return parser
