"""`python -m mooring`, `mooring`, and what the image runs."""

from __future__ import annotations

from typing import NoReturn

from mooring.signals import end_at_once


def main() -> NoReturn:
    """Run the command line; a SIGTERM counts from the beginning, also while most of Mooring is yet to be imported."""
    end_at_once()
    from mooring.cli import main

    main()


if __name__ == "__main__":
    main()
