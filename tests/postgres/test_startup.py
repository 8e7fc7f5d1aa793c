"""What a run with nothing to do loads: that, and not the query, is what it costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

from mooring.lazy import UNUSED
from tests.bench.tools import IMPORTS
from tests.postgres.conftest import Service


OWN = {
    *("cli", "database", "errors", "formats", "formats.detect", "formats.folder", "formats.goose", "history", "ledger"),
    *("lazy", "lexer", "lock", "migration", "names", "ownership", "plan", "proof", "report", "run", "settings"),
    *("signals", "status", "tables", "resume", "up", "wire"),
}
"""Mooring's modules on the way to "nothing to do"."""
BEYOND_THE_PACKAGES = 20
"""Modules of the standard library that Mooring needs and the packages do not: fewer than these."""


def loaded(*command: str, environment: Mapping[str, str] = os.environ) -> set[str]:
    """The modules that a process of Python loads."""
    python = [sys.executable, "-X", "importtime", *command]
    result = subprocess.run(python, capture_output=True, text=True, check=True, env=environment)
    return set(re.findall(r"^import time: .*\| +(\S+)$", result.stderr, re.MULTILINE))


def test_a_run_with_nothing_to_do_loads_what_it_needs(ingestion: Service) -> None:
    assert ingestion.mooring().code == 0
    modules = loaded("-m", "mooring", "up", environment=os.environ | ingestion.environment())
    assert {name for name in modules if name.startswith("mooring.")} == {f"mooring.{name}" for name in OWN}
    others = {name for name in modules if name.partition(".")[0] != "mooring"}
    assert not others & {"_ctypes", "_ssl"}, "what is in UNUSED was used"
    bare = loaded("-I", "-c", IMPORTS)
    assert len(others - bare) < BEYOND_THE_PACKAGES, sorted(others - bare)
    assert len(others) <= len(bare)


def test_what_is_left_unloaded_is_what_the_packages_load() -> None:
    """A name that no package imports any more, or not by itself, is of no use in the list."""
    assert loaded("-I", "-c", IMPORTS) >= UNUSED
