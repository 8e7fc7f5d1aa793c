"""Where SQL statements end, as PostgreSQL's own scanner sees it.

Knows quoted strings and identifiers, dollar quotes, nested comments, `BEGIN ATOMIC` bodies and the parentheses of
`CREATE RULE`; nothing else of SQL matters for finding the semicolons that end a statement. The rules are those of
PostgreSQL's src/backend/parser/scan.l with standard_conforming_strings on, and of psql's begin_depth for SQL bodies.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple


# Letters, the underscore and all that is not ASCII; with digits and the dollar, what an identifier goes on with. Written as
# what is excluded of ASCII, because Python compiles ranges up to the last character slowly.
_LETTER = r"[^\x00-@\[-\^`{-\x7f]"
_REST = r"[^\x00-#%-/:-@\[-\^`{-\x7f]"
IDENTIFIER = rf'(?:"(?:[^"]|"")+"|{_LETTER}{_REST}*)'
"""A regular expression for an identifier, quoted or not."""
NAME = rf"(?:{IDENTIFIER}\s*\.\s*)?{IDENTIFIER}"
"""One for a name, with or without a schema."""
GAP = r"(?:\s|--[^\n]*\n|/\*.*?\*/)+"
"""One for what stands between two words."""
# An E string goes on, with its backslashes, in a quote that follows after a newline (scan.l: quotecontinue).
_ESCAPED = r"'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'"
# Patterns are compiled where they are used, and kept by `re`: a run with nothing to do splits no SQL.
_TOKEN = rf"""(?xs)
      (?P<comment>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<string>[eE]{_ESCAPED}(?:[ \t\f\v]*[\n\r]\s*{_ESCAPED})*|'[^']*(?:''[^']*)*'|"[^"]*(?:""[^"]*)*")
    | (?P<dollar>\$(?:{_LETTER}(?:(?!\$){_REST})*)?\$)
    | (?P<open>[eE]?'|")
    | (?P<word>{_LETTER}{_REST}*)
    | (?P<mark>[;()])
    | (?P<other>[0-9]+|\S)
    """
# Runs of text in which nothing can begin that matters where words do not: no quote, dollar, comment, mark, or E string.
_PLAIN = r"[\x00-!#%&*+,.:<=>?@\[\\\]^`{|}~\x7f]"
_HARMLESS = rf"(?:{_LETTER}{_REST}*+(?!')|[0-9]+|{_PLAIN}+)+"
_DATA = r"(?s)[^\n]*\n(?P<data>(?:.*?\n)??)\\\.[ \t\r]*(?:\n|\Z)"
_BLOCK_EDGE = r"/\*|\*/"
_WORDS_KEPT = 8


class Source(NamedTuple):
    """A file, as people know it: what ran may have had its variables replaced."""

    name: str = ""
    text: str = ""


NOWHERE = Source()


class Statement(NamedTuple):
    """One statement, without its semicolon or the comments before it."""

    source: Source
    text: str
    line: int
    """Where it begins in its file, from 1."""
    column: int
    """Likewise, in characters, from 1."""
    words: tuple[str, ...]
    """Its first words outside quotes and parentheses, in upper case: enough of them to tell what it does."""
    data: str | None = None
    """The lines that follow a COPY FROM STDIN."""

    @property
    def place(self) -> str:
        """Its file, line and column."""
        return f"{self.source.name}:{self.line}:{self.column}"

    @property
    def verb(self) -> str:
        """Its first word."""
        return self.words[0] if self.words else ""

    def locate(self, position: int) -> tuple[int, int]:
        """The line and column in the file of the character at `position`, from 1, in this statement."""
        before = self.text[: position - 1]
        breaks = before.count("\n")
        return self.line + breaks, len(before) - before.rfind("\n") if breaks else self.column + len(before)


class UnfinishedError(ValueError):
    """A quote or comment that never ends."""

    def __init__(self, opening: str, line: int, column: int) -> None:
        super().__init__(f"{opening} is never closed")
        self.line = line
        self.column = column


class Lines:
    """Turns offsets in a text into lines and columns, both from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def locate(self, offset: int) -> tuple[int, int]:
        """The line and column of the character at `offset`."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def split(
    text: str, start: int = 0, end: int | None = None, source: Source = NOWHERE, *, copy: bool = False
) -> tuple[list[Statement], Statement | None]:
    """The statements of `text[start:end]`, and what stands after the last semicolon if it is more than comments.

    Lines and columns are those of the whole `text`. With `copy`, the lines behind a COPY FROM STDIN are its data, up to one
    with a backslash and a dot, as psql has it. Raises UnfinishedError where a quote, a comment or such data does not end.
    """
    end = len(text) if end is None else end
    token, harmless_run = re.compile(_TOKEN), re.compile(_HARMLESS)
    lines = Lines(text)
    statements: list[Statement] = []
    words: list[str] = []
    previous = ""
    begun, parentheses, bodies = -1, 0, 0
    position = start
    while found := token.search(text, position, end):
        kind, position = found.lastgroup, found.end()
        if kind in {"block", "dollar", "open"}:
            position = _closing(text, found, end)
            if position < 0:
                raise UnfinishedError(found.group(), *lines.locate(found.start()))
        if kind in {"comment", "block"}:
            continue
        if kind == "mark":
            mark = found.group()
            if mark == ";" and not parentheses and not bodies:
                if begun >= 0:
                    data = None
                    if copy and words[:1] == ["COPY"] and "STDIN" in words:
                        ends = re.compile(_DATA).match(text, position, end)
                        if not ends:
                            raise UnfinishedError("COPY FROM STDIN", *lines.locate(begun))
                        data, position = ends["data"], ends.end()
                    place = lines.locate(begun)
                    statements.append(Statement(source, text[begun : found.start()], *place, tuple(words), data))
                words, begun = [], -1
                continue
            parentheses = max(0, parentheses + (mark == "(") - (mark == ")"))
        elif kind == "word" and not parentheses:
            word = found.group().upper()
            if _is_routine(words):
                bodies += _depth(word, after=previous, inside=bodies > 0)
            if len(words) < _WORDS_KEPT:
                words.append(word)
            previous = word
        if begun < 0:
            begun = found.start()
        if parentheses and (harmless := harmless_run.match(text, position, end)):
            position = harmless.end()
    if begun < 0:
        return statements, None
    return statements, Statement(source, text[begun:end].rstrip(), *lines.locate(begun), tuple(words))


def _closing(text: str, opening: re.Match[str], end: int) -> int:
    """Where what `opening` opens is closed, or -1."""
    if opening.lastgroup == "dollar":
        tag = opening.group()
        closed = text.find(tag, opening.end(), end)
        return closed + len(tag) if closed >= 0 else -1
    if opening.lastgroup == "block":
        depth, position = 1, opening.end()
        while depth and (edge := re.compile(_BLOCK_EDGE).search(text, position, end)):
            depth += 1 if edge.group() == "/*" else -1
            position = edge.end()
        return position if not depth else -1
    return -1


def _is_routine(words: list[str]) -> bool:
    """Whether a statement that begins so may carry a BEGIN ATOMIC body."""
    kind = words[3:4] if words[1:3] == ["OR", "REPLACE"] else words[1:2]
    return words[:1] == ["CREATE"] and kind[:1] in (["FUNCTION"], ["PROCEDURE"])


def _depth(word: str, *, after: str, inside: bool) -> int:
    """How much deeper `word` leads into BEGIN ATOMIC bodies; CASE counts because it ends with END too."""
    if inside:
        return (word == "CASE") - (word == "END")
    return int(word == "ATOMIC" and after == "BEGIN")
