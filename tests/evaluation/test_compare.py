"""Results beside each other: paired differences, refusals, published rows, Markdown and LaTeX."""

import dataclasses

import pyarrow as pa
import pytest

from agg_pipeline.evaluation.compare import comparison, row_names, same_masks, without_published
from agg_pipeline.evaluation.published import published
from agg_pipeline.evaluation.results_folder import open_results
from agg_pipeline.evaluation.summary import summarise
from agg_pipeline.execution.parquet_files import parquet_bytes, read_table
from agg_pipeline.report.text_table import Table, latex, markdown
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.tables import CLICKS, TARGETS
from tests.e2e.commands import ENVIRONMENT, error_of, invoke
from tests.evaluation.conftest import make_plan, make_run, make_tables


def write(folder, masks, **changes):
    store = Store(str(folder))
    tables = make_tables(masks)
    for name, table in tables.items():
        store.write(f"{name}.parquet", parquet_bytes(table))
    store.write_json("summary.json", summarise(tables, make_plan(**changes)))
    return open_results(str(folder))


def mask(image, *ious):
    return (image, "object", "cat", 1, [make_run(list(ious))])


@pytest.fixture
def two(tmp_path):
    """NoC@90 2 and 3 against 1 and 2: the same difference for both masks."""
    first = write(tmp_path / "first", [mask("a", 0.4, 0.95), mask("b", 0.5, 0.6, 0.95)])
    second = write(tmp_path / "second", [mask("a", 0.95), mask("b", 0.6, 0.95)])
    return first, second


def repeated(folder, images, *pair):
    """Results over so many images: the masks of a pair in turn."""
    return write(folder, [mask(f"image {n}", *pair[n % 2]) for n in range(images)])


@pytest.fixture
def six(tmp_path):
    """As ``two``, over six images."""
    first = repeated(tmp_path / "first", 6, (0.4, 0.95), (0.5, 0.6, 0.95))
    return first, repeated(tmp_path / "second", 6, (0.95,), (0.6, 0.95))


def test_differences_are_paired(six):
    (table,) = comparison(same_masks(six, intersect=False), with_published=False)
    assert table.head == ("", "NoC@80", "NoC@85", "NoC@90", "IoU@1", ">=20@90")
    first, second, difference = table.rows
    # A resample of six images has between none and six of those with 3 clicks; 95 % have one to five.
    assert first[3] == "2.50 [2.17, 2.83]"
    assert second[3] == "1.50 [1.17, 1.83]"
    # Every mask needs one click less: the difference is certain where the means are not.
    assert difference[3] == "-1.00 [-1.00, -1.00]"
    assert difference[4].startswith("+0.325 [+0.")
    assert difference[0] == f"{six[1].name} - {six[0].name}"
    assert table.rules == {2}


@pytest.mark.parametrize(("images", "shown"), [(1, "2.00"), (4, "2.50"), (5, "2.40 [2.00, 2.80]")])
def test_intervals_of_few_images_are_not_shown(tmp_path, images, shown):
    results = repeated(tmp_path / "some", images, (0.4, 0.95), (0.5, 0.6, 0.95))
    (table,) = comparison([results], with_published=False)
    assert table.rows[0][3] == shown


def test_the_title_says_of_how_few_images_means_are(two):
    (table,) = comparison(same_masks(two, intersect=False), with_published=False)
    assert table.title.endswith("2 masks of 2 images; means")
    assert [row[3] for row in table.rows] == ["2.50", "1.50", "-1.00"]
    assert table.rows[2][4] == "+0.325"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/grabcut/eval", "runs/grabcut/eval-adapted"], ["eval", "eval-adapted"]),
        (["/x/runs/a/eval", "/x/runs/b/eval/"], ["a", "b"]),
        (["x/a/eval", "x/b/eval", "x/b/other"], ["a/eval", "b/eval", "b/other"]),
        (["runs/a", "runs/a/curves"], ["a", "curves"]),
        (["s3://bucket/runs/a"], ["a"]),
        (["a", "b/a"], ["a", "b/a"]),
        (["runs/a", "runs/a"], ["runs", "runs"]),
    ],
)
def test_rows_are_named_by_what_tells_the_folders_apart(paths, names):
    assert row_names(paths) == names


def test_what_the_paper_has_no_numbers_of_is_said(two):
    named = [dataclasses.replace(each, dataset="demo") for each in two]
    (line,) = without_published(named)
    assert line == "the paper has no numbers for objects of demo: --with-published adds nothing there"
    (table,) = comparison(named, with_published=True)
    assert table.rules == {2}, "no line above rows that are not there"
    assert without_published(two) == []


def test_masks_that_need_every_click_are_counted(tmp_path):
    never, late = [0.1] * 20, [0.1] * 19 + [0.95]
    first = write(tmp_path / "first", [mask("a", *never), mask("b", *late), mask("c", 0.95)])
    second = write(tmp_path / "second", [mask("a", *never), mask("b", 0.95), mask("c", 0.95)])
    (table,) = comparison(same_masks([first, second], intersect=False), with_published=False)
    assert [row[-1] for row in table.rows] == ["2", "1", "-1"]


def test_results_without_a_common_mask_cannot_be_compared(two, tmp_path):
    other = write(tmp_path / "other", [mask("x", 0.6, 0.95), mask("y", 0.95)])
    with pytest.raises(UserError, match="no mask in common"):
        same_masks([two[1], other], intersect=True)


def test_other_masks_are_refused_or_left_out(two, tmp_path):
    more = write(tmp_path / "more", [mask("a", 0.4, 0.95), mask("b", 0.5, 0.6, 0.95), mask("c", 0.9)])
    with pytest.raises(UserError, match=r"\(1 of 3 masks of .*more are missing in .*\); use --intersect") as refused:
        same_masks([*two, more], intersect=False)
    assert f"of {more.name} are missing in {two[0].name} and {two[1].name}); use" in str(refused.value)
    (table,) = comparison(same_masks([two[0], more], intersect=True), False)
    assert "2 masks" in table.title
    assert table.rows[2][1:] == tuple(["+0.00"] * 3 + ["+0.000", "+0"])


def test_other_limits_and_other_images_are_refused(two, tmp_path):
    short = write(tmp_path / "short", [mask("a", 0.4), mask("b", 0.5)], clicks={"max_clicks": 1})
    with pytest.raises(UserError, match=r"at most 20 clicks and 1 click; evaluate both with the same --max-clicks$"):
        same_masks([two[0], short], intersect=True)
    for number, other in enumerate(("sha of another", b"rle of another")):
        facts = list(two[1].facts["a:0:object:0"])
        facts[number] = other
        changed = dataclasses.replace(two[1], facts=two[1].facts | {"a:0:object:0": tuple(facts)})
        with pytest.raises(UserError, match="mask a:0:object:0 or its image differs between"):
            same_masks([two[0], changed], intersect=False)


def test_noc_that_only_one_of_them_knows_is_left_out(two, tmp_path):
    early = write(tmp_path / "early", [mask("a", 0.4, 0.86), mask("b", 0.5, 0.6, 0.86)], clicks={"object_target": 0.85})
    store = Store(early.name)
    targets = read_table(store, "targets.parquet", TARGETS).to_pylist()
    lower = pa.Table.from_pylist([row | {"target": 0.85} for row in targets], TARGETS)
    store.write("targets.parquet", parquet_bytes(lower))
    (table,) = comparison(same_masks([two[0], open_results(early.name)], intersect=False), False)
    assert table.head == ("", "NoC@80", "NoC@85", "IoU@1", ">=20@85")


@pytest.mark.parametrize("change", ["no plan", "other rows", "none chosen"])
def test_damaged_results_are_one_line(two, change):
    store = Store(two[0].name)
    if change == "no plan":
        store.write_json("summary.json", {"format_version": 1})
    else:
        clicks = read_table(store, "objects.parquet", CLICKS).to_pylist()
        if change == "other rows":
            clicks = [row for row in clicks if row["image_id"] != "a"]
        clicks = [row | {"chosen": row["chosen"] and change != "none chosen"} for row in clicks]
        store.write("objects.parquet", parquet_bytes(pa.Table.from_pylist(clicks, CLICKS)))
    with pytest.raises(UserError, match=r"is not the summary|are damaged"):
        open_results(two[0].name)


@pytest.mark.parametrize("name", ["objects.parquet", "targets.parquet", "summary.json"])
def test_truncated_results_are_one_line(two, name):
    store = Store(two[1].name)
    store.write(name, store.read(name)[:-10])
    error = error_of(compared(*two))
    assert error.startswith(f"{two[1].name}/{name} ")
    assert error.endswith("; run the same evaluation again, which writes it again")


def compared(*results, names=()):
    """``agg eval compare`` over folders that were written by hand."""
    named = [word for name in names for word in ("--name", name)]
    return invoke("eval", "compare", *(each.name for each in results), *named)


def test_rows_have_short_names_or_those_that_are_given(six):
    assert "second - first" in compared(*six).stdout
    done = compared(*six, names=("ours", "theirs"))
    assert "theirs - ours" in done.stdout
    assert "first" not in done.stdout
    error = error_of(compared(*six, names=("ours",)))
    assert error == "1 name for 2 folders of results; give --name once per folder"


def test_a_comparison_fits_80_columns(six, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "80")
    lines = compared(*six, names=("the base model", "the fine-tuned model")).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for text in ("NoC@80", "NoC@90", "IoU@1", ">=20@90", "[-1.00, -1.00]"):
        assert any(text in line for line in lines), text


def test_the_command_says_what_the_paper_has_no_numbers_of(two):
    asked = ("eval", "compare", "--with-published", "--format", "markdown")
    assert invoke(*asked, two[0].name).stderr == ""
    rewritten = Store(two[0].name)
    summary = rewritten.read_json("summary.json")
    summary["plan"]["dataset"]["name"] = "demo"
    rewritten.write_json("summary.json", summary)
    done = invoke(*asked, two[0].name)
    assert done.stderr == "the paper has no numbers for objects of demo: --with-published adds nothing there\n"
    assert done.stdout.startswith("**objects of demo")


def test_published_rows_are_those_of_the_paper(two):
    (table,) = comparison(same_masks(two, intersect=False), with_published=True)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["published, Table 1: SimpleClick, ViT-B"] == ("-", "3.28", "5.24", "-", "-")
    assert rows["published, Table 1: GraCo w/ AGG, ViT-B"] == ("-", "3.44", "4.89", "-", "-")
    assert len(table.rules) == 2


def test_published_numbers_of_every_set():
    counts = {name: len(published(name)[1]) for name in ("grabcut", "berkeley", "sbd", "davis")}
    assert counts == {"grabcut": 23, "berkeley": 21, "sbd": 23, "davis": 23}
    level, rows = published("pascal_part")
    assert (level, len(rows), rows[-1].values) == ("part", 17, {"0.85": "6.00"})
    level, rows = published("sa1b")
    assert (level, len(rows), rows[0].table) == ("object", 8, 2)
    assert rows[0].values == {"0.85": "5.56", "0.90": "7.29", "IoU@1": "0.22"}
    assert published("demo") == ("object", [])


def test_markdown_and_latex():
    table = Table("A & B: 95 %", ("", "NoC@85"), (("a|b_c", "1.0"), ("d", ">= 2")), frozenset({1}))
    assert latex([Table("~^<", ("",), ())]).count("text") == 3
    assert markdown([table]) == "**A & B: 95 %**\n\n|  | NoC@85 |\n| --- | ---: |\n| a\\|b_c | 1.0 |\n| d | >= 2 |\n"
    written = latex([table])
    assert r"\caption{A \& B: 95 \%}" in written
    assert r"a|b\_c & 1.0 \\" in written
    assert written.count(r"\midrule") == 2
    assert r"\begin{tabular}{lr}" in written
