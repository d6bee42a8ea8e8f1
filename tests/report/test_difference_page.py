"""The page of two databases that differ: its tables, and pictures with and without photographs."""

import hashlib
import re

import cv2
import numpy as np
import pytest

from agg_pipeline.database.difference_counts import Differences, Examples, Tally
from agg_pipeline.database.differences import compare
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.report.difference_page import difference_tables, write_differences
from agg_pipeline.storage.store import Store
from tests.database.changed_rows import changed
from tests.e2e.commands import error_of, invoke
from tests.toy_run import HEIGHT, WIDTH, make_database


@pytest.fixture
def photographs(tmp_path):
    """A root folder with the images of the toy database; the hash of each, by its path."""
    root = tmp_path / "photographs"
    (root / "img").mkdir(parents=True)
    hashes = {}
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        path = f"img/im_{number}.png"
        cv2.imwrite(str(root / path), pixels)
        hashes[path] = hashlib.sha256((root / path).read_bytes()).hexdigest()
    return root, hashes


@pytest.fixture
def whole(tmp_path, photographs):
    """The toy database, whose images are the photographs."""
    made = open_proposals(make_database(tmp_path / "made").url)
    _, hashes = photographs
    return changed(made, str(tmp_path / "whole"), "images", lambda row: row | {"sha256": hashes[row["path"]]})


def page_of(first, second, roots, tmp_path, examples=4):
    found = compare(first, second, examples)
    path = write_differences((first, second), found, roots, Store(str(tmp_path / "page")))
    assert path == f"{tmp_path}/page/difference.html"
    return (tmp_path / "page" / "difference.html").read_text()


def test_largest_differences_are_drawn_over_their_photographs(whole, photographs, tmp_path):
    root, _ = photographs
    other = recompute(whole, str(tmp_path / "other"), 0.1)
    page = page_of(whole, other, [("", str(root))], tmp_path)
    assert "<h1>The databases differ</h1>" in page
    assert "<li>config.granularity.weight: 0.5 -&gt; 0.1</li>" in page
    assert page.count("<svg") == page.count("data:image/webp;base64,") == 4
    assert page.count('class="mask first"') == page.count('class="mask second"') == 4
    assert "image not found" not in page
    assert re.findall("<h2>(.*?)</h2>", page) == [
        *("Configuration", "Content", "Granularities that differ", "Other columns that differ"),
        "Granularities that differ most",
    ]
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


@pytest.mark.parametrize("roots", [[], [("sbd", "{root}")], [("", "{root}/nowhere")]])
def test_masks_without_their_photograph_are_drawn_alone(whole, photographs, tmp_path, roots):
    root, _ = photographs
    kept = filter_database(whole, str(tmp_path / "kept"), "kind = 'part'")
    page = page_of(whole, kept, [(name, folder.format(root=root)) for name, folder in roots], tmp_path, 2)
    assert page.count("<svg") == page.count("image not found") == page.count('class="mask first"') == 2
    assert "data:image" not in page
    assert 'class="mask second"' not in page
    assert "Largest masks that only the first has" in page


def test_photograph_that_has_changed_is_not_shown(whole, photographs, tmp_path):
    root, _ = photographs
    other = recompute(whole, str(tmp_path / "other"), 0.1)
    drawn = compare(whole, other, 1).regraded.kept[0].path
    (root / drawn).write_bytes((root / "img" / f"im_{7 - int(drawn[7])}.png").read_bytes())
    page = page_of(whole, other, [("", str(root))], tmp_path, 1)
    assert page.count("image not found") == 1
    assert "data:image" not in page


def test_names_of_others_are_escaped(whole, tmp_path):
    def change(row):
        return row | {"category": "<script>"} if row["kind"] == "object" else row

    named = changed(whole, str(tmp_path / "named"), "proposals", change)

    other = changed(named, str(tmp_path / "<b>"), "proposals", lambda row: row)
    page = page_of(whole, other, [], tmp_path)
    assert f"second: {tmp_path}/&lt;b&gt;</p>" in page
    assert "<b>" not in page


def test_tables_without_a_difference_are_left_out():
    found = Differences([], Examples(0), Examples(0), Examples(0), Examples(0), images=Tally(both=3))
    (table,) = difference_tables(found)
    assert table.rows == (("images", "3", "0", "0"),)
    found.ious.add(0.97)
    found.ious.add(0.51)
    found.columns["images", "licence"] = 2
    _, ious, columns = difference_tables(found)
    assert ious.rows == (
        ("0.5 to 0.75", "1"),
        *((name, "0") for name in ("0.75 to 0.9", "0.9 to 0.95")),
        ("0.95 to 0.98", "1"),
        *((name, "0") for name in ("0.98 to 0.99", "0.99 to 1")),
        ("mean", "0.7400"),
    )
    assert columns.rows == (("licence of images", "2"),)


def test_command_says_whether_databases_differ(whole, photographs, tmp_path):
    root, _ = photographs
    other = recompute(whole, str(tmp_path / "other"), 0.1)
    same = invoke("database", "diff", whole.store.url, whole.store.url)
    assert (same.code, same.stdout.splitlines()[-1]) == (0, "the databases have the same content")
    out = tmp_path / "page"
    differ = invoke("database", "diff", whole.store.url, other.store.url, "--data", root, "--out", out, "--pictures", 2)
    assert (differ.code, differ.stderr) == (1, "")
    assert differ.stdout.splitlines()[:3] == [
        f"first: {whole.store.url}",
        f"second: {other.store.url}",
        "config.granularity.weight: 0.5 -> 0.1",
    ]
    assert differ.stdout.splitlines()[-2:] == [f"open {out}/difference.html", "the databases differ"]
    assert (out / "difference.html").read_text().count("data:image/webp") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "photographs"], "--data is for the pictures; give --out FOLDER"),
        (["--out", "{database}"], "is one of the databases, or lies in it; choose another folder"),
    ],
)
def test_command_refuses_options_that_cannot_be_meant(whole, options, said):
    options = [option.format(database=whole.store.url) for option in options]
    refused = invoke("database", "diff", whole.store.url, whole.store.url, *options)
    assert refused.code == 2
    assert said in error_of(refused)
