"""Runs a service's PostgreSQL migrations before its pod starts, and exits 0 only with proof."""

from __future__ import annotations


__version__ = "0.1.0"
