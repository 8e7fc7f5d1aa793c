"""What tests of all kinds need: to wait for what should happen, and to know where PostgreSQL's programs are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mooring import embedded


PATIENCE = 60
"""Seconds after which what should have happened is taken not to happen."""
T = TypeVar("T")


def eventually(
    ask: Callable[[], T | None], failure: Callable[[], str], within: float = PATIENCE, pause: float = 0.1
) -> T:
    """The first answer that is one; after `within` seconds, an AssertionError with what `failure` says."""
    deadline = time.monotonic() + within
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {failure()}")
        time.sleep(pause)
    return answer


def binaries_of(version: int) -> Path:
    """Where a version's programs are: Debian's for 15, those of a wheel for the others."""
    return Path("/usr/lib/postgresql/15/bin") if version == 15 else embedded.binaries_of(version)
