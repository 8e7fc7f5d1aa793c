"""Which statements the catalog can tell about, when nobody saw their end."""

from __future__ import annotations

import pytest

from mooring.lexer import split
from mooring.resume import recoverable


@pytest.mark.parametrize(
    ("statement", "known"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (x)", True),
        ('create unique index concurrently if not exists "I x" on only app."T" using btree (x)', True),
        ("CREATE /* c */ INDEX CONCURRENTLY i -- x\n ON t (x)", True),
        ("CREATE INDEX CONCURRENTLY ON t (x)", False),
        ("DROP INDEX CONCURRENTLY IF EXISTS app.i", True),
        ("ALTER TABLE t DETACH PARTITION t1 CONCURRENTLY", True),
        ("CREATE DATABASE d", True),
        ("REINDEX TABLE CONCURRENTLY t", True),
        ("VACUUM (FULL) t", True),
        ("CALL p()", False),
    ],
)
def test_a_statement_says_whether_its_end_can_be_found_out(statement: str, known: bool) -> None:
    _, rest = split(statement)
    assert rest is not None
    assert recoverable(rest) is known
