"""Masks drawn from proposal databases, and the images that go with them."""

import pickle
import re
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.images import read_image
from agg_pipeline.storage.store import Store
from agg_pipeline.training.source import check_images, open_source
from schemas.errors import UserError
from schemas.numbers import granularity_bin
from tests.training.conftest import IMAGES, write_proposals


def opened(proposals, data, source="agg", by_scale=False):
    return open_source([open_proposals(str(proposals))], [partial(read_image, Store(str(data)))], source, by_scale)


@pytest.fixture
def source(proposals, data):
    return opened(proposals, data)


def table(proposals):
    return open_proposals(str(proposals)).proposals().to_pylist()


def test_all_rows_of_a_source_can_be_drawn(source, proposals, data):
    rows = table(proposals)
    assert len(source.images) == IMAGES
    assert source.bins() == [sum(row["bin"] == n for row in rows) for n in range(1, 11)]
    objects = opened(proposals, data, "object")
    assert sum(objects.bins()) == objects.bins()[9] == sum(row["kind"] == "object" for row in rows)


def test_a_draw_is_the_row_that_it_says(source, proposals):
    rows = {(row["image_id"], row["area"], row["bin"]) for row in table(proposals)}
    for row in range(len(source.weights)):
        drawn = source.open(row)
        path = source.images[source.rows.image[row]][0]
        image_id = path.split("/")[1].removesuffix(".png")
        assert (image_id, int(drawn.mask.sum()), drawn.bin) in rows
        assert drawn.pixels.shape == (*drawn.mask.shape, 3)
        assert not (drawn.mask & ~drawn.around).any()
        assert not (drawn.others & drawn.mask).any()
        assert bool(drawn.others.any()) == (image_id != f"im_{IMAGES - 1}")


def test_draws_of_an_image_follow_the_inverse_frequency(source):
    image = 0
    own = source.by_image[source.first[0] : source.first[1]]
    counts = Counter(source.draw(image, np.random.default_rng(n)) for n in range(3000))
    assert set(counts) == set(own.tolist())
    bins = source.rows.bin[own]
    shares = np.array(source.bins()) / sum(source.bins())
    expected = {row: 1 / shares[b - 1] / np.count_nonzero(bins == b) for row, b in zip(own.tolist(), bins, strict=True)}
    for row, weight in expected.items():
        assert counts[row] / 3000 == pytest.approx(weight / sum(expected.values()), abs=0.04)


def test_draws_of_the_whole_source_make_all_bins_as_likely(source):
    there = [n for n, count in enumerate(source.bins(), start=1) if count]
    drawn = Counter(int(source.rows.bin[source.draw_any(np.random.default_rng(n))]) for n in range(3000))
    for bin_ in there:
        assert drawn[bin_] / 3000 == pytest.approx(1 / len(there), abs=0.05)


def test_scale_alone_can_be_the_granularity(proposals, data):
    by_scale = opened(proposals, data, by_scale=True)
    rows = table(proposals)
    areas = {(row["image_id"], row["instance_id"]): row["area"] for row in rows if row["kind"] == "object"}
    scales = [row["area"] / areas[row["image_id"], row["instance_id"]] for row in rows]
    assert by_scale.bins() == [sum(min(10, max(1, round(10 * scale))) == n for scale in scales) for n in range(1, 11)]
    assert by_scale.bins() != opened(proposals, data).bins()


def test_bins_are_those_of_full_precision(data, tmp_path):
    """7/20 of the object is bin 4, half to even; as float32 it is a little less, bin 3."""
    assert granularity_bin(7 / 20) != granularity_bin(float(np.float32(7 / 20)))
    copy = shutil.copytree(write_proposals(tmp_path / "out", data), tmp_path / "copy")
    path = copy / "database" / "proposals" / "part-00000.parquet"
    rows = pq.read_table(path)
    columns = rows.to_pydict()
    part = columns["kind"].index("part")
    owner = columns["proposal_id"].index(columns["parent_id"][part])
    columns["area"][owner], columns["area"][part] = 20, 7
    pq.write_table(pa.Table.from_pydict(columns, rows.schema), path)
    by_scale = opened(copy, data, by_scale=True)
    assert by_scale.rows.bin[(by_scale.rows.shard == 0) & (by_scale.rows.row == part)].tolist() == [4]


def test_objects_of_two_databases_count_once(proposals, data):
    database, read = open_proposals(str(proposals)), partial(read_image, Store(str(data)))
    twice = open_source([database, database], [read, read], "object", False)
    assert sum(twice.bins()) == sum(opened(proposals, data, "object").bins())


def test_source_without_masks_is_refused(proposals, data):
    built = open_proposals(str(proposals))
    assert "annotated" not in built.proposals(["kind"])["kind"].to_pylist()
    # The objects are in every source: alone they are none of these.
    for source in ("gt", "gt+agg"):
        with pytest.raises(
            UserError, match=f"source '{re.escape(source)}' has no mask of kind annotated to learn from: .* object"
        ):
            opened(proposals, data, source)
    empty = replace(built, sidecars={})
    with pytest.raises(UserError, match="no mask of kind part or complement to learn from: the database holds nothing"):
        open_source([empty], [partial(read_image, Store(str(data)))], "agg", False)


def test_it_can_be_sent_to_another_process(source):
    source.open(0)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert np.array_equal(copy.open(1).mask, source.open(1).mask)


def test_changed_and_missing_images_are_named(proposals, data, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    for number in (0, 1, 2):
        Image.new("RGB", (160, 120)).save(root / "images" / f"im_{number}.png")
    (root / "images" / "im_3.png").unlink()
    changed = opened(proposals, root)
    with pytest.raises(UserError) as error:
        check_images(changed)
    message = str(error.value)
    assert message.startswith("4 of 5 images")
    assert all(f"im_{number}.png" in message for number in (0, 1, 2))
    assert "and 1 more" in message
    with pytest.raises(UserError, match="not the one"):
        changed.open(0)
    check_images(opened(proposals, data))
