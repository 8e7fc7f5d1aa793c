"""`python -m mooring`: what the image runs."""

from __future__ import annotations

from mooring.cli import main


main()
