"""What is counted of the differences of two databases, and the largest of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field

from schemas.canonical import Row

IOU_EDGES = (0.75, 0.9, 0.95, 0.98, 0.99)
"""Between these the IoUs of masks that differ are counted. All are above ``matching.MATCHED``."""
GRANULARITY_EDGES = (0.01, 0.05, 0.1, 0.2)
"""Between these the differences of granularities are counted."""
LEVELS = ("objects", "proposals", "annotated parts")
LEVEL_OF = {"object": "objects", "part": "proposals", "complement": "proposals", "annotated": "annotated parts"}


@dataclass
class Tally:
    """How many of something there are.

    Attributes:
        both: number in both databases.
        only_a, only_b: number only in the first, and only in the second.
    """

    both: int = 0
    only_a: int = 0
    only_b: int = 0

    @property
    def differs(self) -> bool:
        """Whether one database has what the other lacks."""
        return bool(self.only_a or self.only_b)


@dataclass
class Spread:
    """How far values of two databases differ.

    Attributes:
        edges: between these the values are counted.
        counts: number of values below the first edge, between two, and from the last on.
        total: sum of the values.
    """

    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.edges) + 1)

    @property
    def number(self) -> int:
        """How many values differ."""
        return sum(self.counts)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_right(self.edges, value)] += 1
        self.total += value


@dataclass(frozen=True)
class Example:
    """A mask that differs, for a picture.

    Attributes:
        size: how large the difference is.
        a, b: its row in each database, with the columns of ``differences.COMPARED``; None where it is missing.
        iou: IoU of the two masks; 0 if one is missing.
        path: path of the image in its data set.
        sha256: hash of the image's file.
        dataset: name of the data set.
    """

    size: float
    a: Row | None
    b: Row | None
    iou: float
    path: str
    sha256: str
    dataset: str

    @property
    def row(self) -> Row:
        """The first of its rows."""
        row = self.a or self.b
        assert row is not None
        return row


@dataclass
class Examples:
    """The largest differences of a kind.

    Attributes:
        limit: number that is kept.
        kept: those, the largest first.
    """

    limit: int
    kept: list[Example] = field(default_factory=list)

    def add(self, example: Example) -> None:
        """Keep a difference if it is among the largest; of equal ones, that with the smaller id."""
        if len(self.kept) < self.limit or (self.limit and _rank(example) < _rank(self.kept[-1])):
            self.kept = sorted([*self.kept, example], key=_rank)[: self.limit]


def _rank(example: Example) -> tuple[float, str]:
    return -example.size, example.row["proposal_id"]


@dataclass
class Differences:
    """In what two databases differ.

    Attributes:
        configuration: differences of the runs that have made their rows, a line each.
        changed, regraded, only_a, only_b: the largest differences: masks that differ, granularities that differ, and
            masks that only one database has.
        images: images; those of both are matched by the sha256 of their file, or else by their ids.
        rows: objects, proposals and annotated parts, by name.
        rejects: rejects.
        ious: IoU of masks of both databases that differ.
        granularities: differences of the granularities of masks of both databases.
        columns: rows of both databases in which a column differs, by table and column; masks and granularities are not
            among them.
    """

    configuration: list[str]
    changed: Examples
    regraded: Examples
    only_a: Examples
    only_b: Examples
    images: Tally = field(default_factory=Tally)
    rows: dict[str, Tally] = field(default_factory=lambda: {level: Tally() for level in LEVELS})
    rejects: Tally = field(default_factory=Tally)
    ious: Spread = field(default_factory=lambda: Spread(IOU_EDGES))
    granularities: Spread = field(default_factory=lambda: Spread(GRANULARITY_EDGES))
    columns: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def any(self) -> bool:
        """Whether there is a difference."""
        tallies = (self.images, self.rejects, *self.rows.values())
        numbers = (self.ious.number, self.granularities.number, self.columns.total())
        return bool(self.configuration) or any(tally.differs for tally in tallies) or any(numbers)
