"""What is wrong with a rule, in words that point at the place."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple


class RuleError(ValueError):
    """A rule or a role cannot be understood; the text says where, what was expected, and what to write instead.

    Attributes:
        problems: One text for each rule that cannot.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Span(NamedTuple):
    """Characters `start` to `stop` (exclusive) of an expression, counted from 0."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Source:
    """An expression and where it stands in the rig file, so that an error can quote both.

    Attributes:
        key: The expression's path in the rig file, such as `$.rules.near.when`.
        text: The expression.
    """

    key: str
    text: str

    def error(self, span: Span, message: str) -> RuleError:
        """Return an error whose text names the key and the column and underlines `span`.

        Args:
            span: The characters at fault; a span that goes over a line's end is underlined to the end of that line.
            message: What was expected, what was got, and what to do.
        """
        line_start = self.text.rfind("\n", 0, span.start) + 1
        line_stop = self.text.find("\n", span.start)
        line = self.text[line_start : line_stop if line_stop >= 0 else len(self.text)]
        column = span.start - line_start
        place = f"column {column + 1}"
        if "\n" in self.text:
            place = f"line {self.text.count(chr(10), 0, span.start) + 1}, {place}"
        # A tab stays a tab, so that the caret stands under its character whatever the tab's width.
        indent = "".join("\t" if character == "\t" else " " for character in line[:column])
        carets = "^" * max(1, min(span.stop - span.start, len(line) - column))
        return RuleError(f"{self.key}: {place}: {message}\n    {line}\n    {indent}{carets}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an expression something stands."""

    source: Source
    span: Span

    def error(self, message: str) -> RuleError:
        """Return an error that points here, see `Source.error`."""
        return self.source.error(self.span, message)


def suggestion(got: str, known: tuple[str, ...]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `got`, or nothing where none is near.

    Names of one or two letters are all near to one another, so nothing is guessed for them.
    """
    near = get_close_matches(got, known, n=1) if len(got) > 2 else []
    return f"; did you mean '{near[0]}'?" if near else ""
