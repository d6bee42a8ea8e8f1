"""The statistics of a database: the page, the picture, and the numbers in them."""

import io
import re

import numpy as np
import pyarrow as pa
from PIL import Image

from agg_pipeline.database.counts import by_kind_and_bin
from agg_pipeline.figures.colours import COLOURS
from agg_pipeline.proposals.recall import Comparison, PartRecall, Recall
from agg_pipeline.proposals.statistics_page import histograms, write_statistics
from agg_pipeline.report.plots import inline_svg, png
from agg_pipeline.storage.store import Store
from tests.report.test_gallery import database  # noqa: F401  # a fixture


def table(kinds, granularity):
    numbers = pa.array(granularity, pa.float32())
    bins = pa.array([max(1, round(10 * g)) for g in granularity], pa.int8())
    return pa.table({"kind": kinds, "bin": bins, "scale": numbers, "semantic": numbers, "granularity": numbers})


def test_counts_by_kind_and_bin():
    counted = by_kind_and_bin(table(["object", "part", "part", "annotated"], [1.0, 0.2, 0.2, 0.04]))
    assert counted == {
        "object": [0] * 9 + [1],
        "part": [0, 2] + [0] * 8,
        "annotated": [1] + [0] * 9,
    }


def colours(figure):
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).reshape(-1, 3)
    return {tuple(colour) for colour in np.unique(pixels, axis=0)}


def test_histograms_show_existing_kinds_without_objects():
    part, complement = COLOURS["part"].rgb, COLOURS["complement"].rgb
    assert {part, complement} <= colours(histograms(table(["part", "complement", "object"], [0.2, 0.6, 1.0])))
    only = colours(histograms(table(["part", "object"], [0.2, 1.0])))
    assert part in only
    assert complement not in only
    assert part not in colours(histograms(table(["object"], [1.0])))


def test_histograms_of_the_same_rows_are_the_same_bytes():
    rows = table(["part", "complement"], [0.2, 0.6])
    assert png(histograms(rows)) == png(histograms(rows))
    drawings = [inline_svg(histograms(rows), "histograms", "of <rows>") for _ in range(2)]
    assert drawings[0] == drawings[1]
    assert "var(--part)" in drawings[0], "it takes the page's colours"
    assert 'aria-label="of &lt;rows&gt;"' in drawings[0]
    assert "DejaVu" not in drawings[0], "it takes the page's letters"
    assert "<style" not in drawings[0], "a style would be that of the whole page"


def test_page_holds_the_counts_and_loads_nothing(database, tmp_path):  # noqa: F811
    store = Store(str(tmp_path))
    compared = Comparison("cat <left> ear", Recall(3, 0.625, (0.5, 0.25)), Recall(3, 0.375, (0.125, 0.0)))
    write_statistics(database, PartRecall(2, 7, (compared,), (compared,)), store)
    page = (tmp_path / "stats.html").read_text()
    assert (tmp_path / "stats.png").read_bytes().startswith(b"\x89PNG")
    assert not re.findall(r"(?:src|href)=.(?!data:|#)", page)
    kinds = database.proposals(["kind"])["kind"].to_pylist()
    for kind in set(kinds):
        row = re.search(rf"</i> {kind}</th>(.*?)</tr>", page).group(1)
        assert f"<b>{kinds.count(kind)}</b>" in row
    assert "cat &lt;left&gt; ear" in page
    assert all(number in page for number in ("0.625", "0.375", "0.500", "0.250", "0.125", "0.000"))


def test_page_without_recall_says_nothing_of_it(database, tmp_path):  # noqa: F811
    write_statistics(database, None, Store(str(tmp_path)))
    assert "Recall" not in (tmp_path / "stats.html").read_text()
