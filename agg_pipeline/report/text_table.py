"""Tables of text, as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.words import plural, printable

FEWEST_IMAGES = 5
"""An interval is shown for at least this number of images: resamples of fewer say nothing about other images."""

_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "≥": r"$\geq$",
}


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: title of the table.
        head: names of the columns; the first column is text, the others are numbers.
        rows: cells.
        rules: numbers of the rows before which a line is drawn.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rules: frozenset[int] = frozenset()


def mean_cell(mean: float, low: float, high: float, images: int, form: str = ".2f") -> str:
    """A mean as a cell of a table.

    Args:
        mean: the mean.
        low, high: its 95 % interval over images.
        images: what it was measured on.
        form: how numbers are written.

    Returns:
        The mean with its interval or, of few images, with their number.
    """
    if images < FEWEST_IMAGES:
        return f"{mean:{form}} ({plural(images, 'image')})"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def markdown(tables: Sequence[Table]) -> str:
    """Tables as Markdown, as GitHub reads it."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    lines = [table.head, ("---", *("---:" for _ in table.head[1:])), *table.rows]
    shown = ("| " + " | ".join(printable(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
    return "\n".join((f"**{printable(table.title)}**", "", *shown, ""))


def latex(tables: Sequence[Table]) -> str:
    """Tables as LaTeX, for the package booktabs."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        r"\toprule",
        _line(table.head),
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if number in table.rules:
            lines.append(r"\midrule")
        lines.append(_line(row))
    return "\n".join((*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""))


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(text))
