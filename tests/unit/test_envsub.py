"""goose's ENVSUB: the grammar of github.com/mfridman/interpolate, and dollar quotes left alone."""

from __future__ import annotations

import pytest

from mooring.formats.envsub import expand


ENVIRONMENT = {"A": "x", "EMPTY": "", "LETTERS": "abcdef"}


@pytest.mark.parametrize(
    ("line", "expanded"),
    [
        ("a $A ${A} $A.", "a x x x."),
        ("[$NONE] [${NONE}]", "[] []"),
        ("${NONE:-d} ${EMPTY:-d} ${A:-d}", "d d x"),
        ("${NONE-d} ${EMPTY-d} ${A-d}", "d  x"),
        ("${NONE:-${EMPTY:-$A}}", "x"),
        ("${A?why}", "x"),
        ("${LETTERS:2} ${LETTERS:1:3} ${LETTERS: -2} ${LETTERS:0:-4}", "cdef bcd ef ab"),
        (r"\$A \\ $( end$", r"$A \\ $( end$"),
        ("AS $$ BEGIN $$", "AS $$ BEGIN $$"),
        ("AS $$$$ BEGIN $$$$", "AS $$ BEGIN $$"),
        ("AS $body$", "AS $body$"),
        ("a } b {", "a } b {"),
    ],
)
def test_a_line_is_expanded(line: str, expanded: str) -> None:
    assert expand(line, ENVIRONMENT) == expanded


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("$1", "no variable's name follows the $ before '1'; write \\$ for a dollar"),
        ("${NONE?}", "$NONE: not set"),
        ("${NONE?set $A}", "$NONE: set x"),
        ("${A", "${A is followed by '', not by an operator or a brace"),
        ("${A+b}", "${A is followed by '+b}', not by an operator or a brace"),
        ("${A:-b", "no brace closes ${A"),
    ],
)
def test_what_goose_would_refuse_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match="ENVSUB") as error:
        expand(line, ENVIRONMENT)
    assert str(error.value) == f"ENVSUB: {problem}"
