"""The page of a comparison: what its charts say, and that it loads nothing."""

import re

from agg_pipeline.evaluation.compare import comparison
from agg_pipeline.evaluation.comparison_page import comparison_page
from agg_pipeline.report.index_page import Link
from tests.e2e.commands import invoke
from tests.evaluation.test_compare import six, two  # noqa: F401  # fixtures


def page_of(results, links=()):
    return comparison_page(results, comparison(results, with_published=False), links, "the models")


def labels(page):
    return re.findall('<svg class="chart".*?aria-label="(.*?)"', page)


def test_charts_say_how_many_masks_reach_their_target(six):  # noqa: F811
    first, second = six
    page = page_of(six)
    reached, means = labels(page)
    # IoU 0.95 comes with click 2 or 3 in the first results, with click 1 or 2 in the second ones.
    assert reached == (
        f"Share of the objects that reach their target: {first.name} 0% after one click, 100% after 20; "
        f"{second.name} 50% after one click, 100% after 20"
    )
    assert f"{first.name}: 2.50 clicks, IoU@1 0.450" in means
    assert f"{second.name}: 1.50 clicks, IoU@1 0.775" in means


def test_the_page_has_the_table_and_links_and_loads_nothing(six):  # noqa: F811
    page = page_of(six, [Link("Report of <base>", "base/report.html")])
    assert "<h1>Comparison on " in page
    assert '<a href="base/report.html">Report of &lt;base&gt;</a>' in page
    assert "-1.00" in page
    assert not re.findall(r"(?:src|href)=.(?!data:|#|base/)", page)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids)), "the charts do not take each other's definitions"


def test_compare_writes_the_page_where_it_is_told(two, tmp_path):  # noqa: F811
    names = [each.name for each in two]
    done = invoke("eval", "compare", *names, "--out", tmp_path / "both")
    assert done.stdout.endswith(f"open {tmp_path}/both/comparison.html\n")
    assert "Share of the objects" in (tmp_path / "both" / "comparison.html").read_text()
    quiet = invoke("eval", "compare", *names, "--out", tmp_path / "again", "--format", "markdown")
    assert "open" not in quiet.stdout, "standard output is the table alone"
    assert f"open {tmp_path}/again/comparison.html" in quiet.stderr
