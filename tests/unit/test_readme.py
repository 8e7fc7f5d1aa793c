"""README's tables come from the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parents[2]


def test_the_tables_are_up_to_date() -> None:
    """`make docs` writes them."""
    assert subprocess.run([sys.executable, ROOT / ".ci/readme.py", "--check"], check=False).returncode == 0
