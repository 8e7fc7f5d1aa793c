"""The lock's key."""

from __future__ import annotations

from mooring.lock import key
from mooring.names import TableName


def test_the_key_never_changes() -> None:
    """Runners of two versions of Mooring must exclude each other."""
    assert key(TableName("public", "goose_ingestion")) == -5238382004544044389


def test_tables_have_keys_of_their_own() -> None:
    names = [TableName("public", "a"), TableName("public", "b"), TableName("app", "a"), TableName("p", "ublica")]
    assert len({key(name) for name in names}) == 4
