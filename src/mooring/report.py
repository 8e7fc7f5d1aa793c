"""What a run says: structured logs, and the last word that `kubectl describe pod` shows."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import structlog

from mooring.errors import MooringError, redact


LAST_WORD_BYTES = 1024
_QUIET_SECONDS = 15
"""How long to be silent about one and the same wait."""


class Report:
    """The log and the last word of one run."""

    def __init__(
        self,
        *,
        log_format: str | None = None,
        level: str = "info",
        termination_log: Path | None = None,
        stream: TextIO | None = None,
    ) -> None:
        stream = stream or sys.stdout
        self.console = log_format == "console" or (log_format is None and stream.isatty())
        """Whether people read it as it is."""
        self.log = structlog.wrap_logger(
            structlog.WriteLogger(stream),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                _without_secrets,
                _for_console if self.console else _as_json,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            cache_logger_on_first_use=True,
        )
        self.doing = "starting"
        """What a SIGTERM would interrupt."""
        self.applied = 0
        """How many migrations the run has applied."""
        self._termination_log = termination_log
        self._begun = time.monotonic()
        self._said: dict[str, float] = {}

    def bind(self, **fields: object) -> None:
        """Say these keys with every event from now on."""
        self.log = self.log.bind(**fields)

    def waiting(self, what: str, /, **fields: object) -> None:
        """Say what the run waits for, unless it was said a moment ago."""
        now = time.monotonic()
        if now - self._said.get(what, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._said[what] = now
            event = f"waiting for {what}"
            self.log.warning(event, waited_s=round(now - self._begun, 1), **fields)

    def still_running(self, seconds: float, waits_for: str, progress: str, blockers: str) -> None:
        """Say that a statement goes on, how far it is, and whom it waits for, unless that was said a moment ago."""
        fields = {"waits_for": waits_for, "progress": progress, "blocked_by": blockers.split("\n") if blockers else ""}
        known = {key: value for key, value in fields.items() if value}
        now = time.monotonic()
        if now - self._said.get("statement", -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._said["statement"] = now
            self.log.info("still running", doing=self.doing, for_s=seconds, **known)

    def ran(self, file: str, version: str, milliseconds: int, *, of: int) -> None:
        """Say that a migration is committed."""
        self.applied += 1
        self.log.info("applied", file=file, version=version, duration_ms=milliseconds, done=self.applied, of=of)

    def done(self, line: str, **fields: object) -> None:
        """Say that all is proven, in the log and as the last word."""
        self.log.info("done", message=line, duration_ms=self.milliseconds(), **fields)
        self._last_word(line)

    def failed(self, error: MooringError) -> None:
        """Say why the run ends, in the log and as the last word."""
        said = {"details": error.details, "hint": error.hint}
        self.log.error(
            "failed",
            exit_code=error.exit_code,
            error=error.summary,
            problems=list(error.problems),
            **{key: value for key, value in said.items() if value},
            **error.fields,
        )
        self._last_word(error.line)

    def crashed(self, error: BaseException) -> None:
        """Say that Mooring itself is at fault, with the traceback."""
        from traceback import format_exception

        trace = "".join(format_exception(error))
        self.log.critical("crashed", exit_code=1, error=repr(error), traceback=trace)
        self._last_word(f"exit 1: a bug in Mooring, see the log: {error!r}")

    def terminated(self) -> None:
        """Say that a SIGTERM ended the run."""
        self._last_word(f"exit 143: terminated while {self.doing}; what was not committed is rolled back")
        self.log.error("terminated", exit_code=143, while_=self.doing)

    def milliseconds(self) -> int:
        """How long the run has taken."""
        return round((time.monotonic() - self._begun) * 1000)

    def _last_word(self, line: str) -> None:
        """Write one line to the termination log, if there is one."""
        path = self._termination_log
        if path is None or not path.parent.is_dir():
            return
        if path == Path("/dev/termination-log") and not path.exists():
            return
        data = redact(" ".join(line.split())).encode()
        if len(data) > LAST_WORD_BYTES:
            data = data[: LAST_WORD_BYTES - 3].decode(errors="ignore").encode() + "…".encode()
        with contextlib.suppress(OSError):
            path.write_bytes(data)


def _without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key.rstrip("_"): _redacted(value) for key, value in event.items()}


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Sequence):
        return [_redacted(item) for item in value]
    return value


_FIRST = ("timestamp", "level", "event", "service", "version_table")


def _as_json(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    ordered = {key: event[key] for key in _FIRST if key in event} | dict(event)
    return json.dumps(ordered, ensure_ascii=False, default=str)


def _for_console(_logger: object, _method: str, event: Mapping[str, Any]) -> str:
    """The same for people: a line an event, and the lines of an error below it."""
    left = {key: value for key, value in event.items() if key not in {*_FIRST, "message", "file", "error"}}
    lines = [line for key in ("problems", "details") for line in left.pop(key, ())]
    lines += [left.pop(key) for key in ("hint", "traceback") if key in left]
    subject = next((event[key] for key in ("error", "message", "file") if key in event), "")
    rest = " ".join(f"{key}={value}" for key, value in left.items())
    head = f"{event['timestamp'][11:19]} {event['event']:<10} {subject}  {rest}".rstrip()
    return "\n".join([head, *(f"    {part}" for line in lines for part in line.split("\n"))])
