"""Choosing masks from proposal databases, and drawing them by inverse frequency."""

import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.training.mask_rows import KINDS_OF, choose_rows, empty_bin_notes
from schemas.errors import UserError
from schemas.numbers import granularity_bin
from schemas.tables import FILES, KINDS
from tests.training.conftest import IMAGES, write_proposals


def chosen(proposals, source="agg", definition="both"):
    return choose_rows([open_proposals(str(proposals))], source, definition)


@pytest.fixture
def rows(proposals):
    return chosen(proposals)


def table(proposals):
    return open_proposals(str(proposals)).proposals().to_pylist()


def test_all_rows_of_a_source_can_be_drawn(rows, proposals):
    there = table(proposals)
    assert len(rows.images) == IMAGES
    assert len(rows) == len(there)
    assert rows.bins() == [sum(row["bin"] == n for row in there) for n in range(1, 11)]
    objects = chosen(proposals, "object")
    assert len(objects) == objects.bins()[9] == sum(row["kind"] == "object" for row in there)


def test_rows_are_sorted_by_image(rows):
    own = [rows.of_image(image) for image in range(IMAGES)]
    assert sorted(np.concatenate(own).tolist()) == list(range(len(rows)))
    for image, numbers in enumerate(own):
        assert set(rows.image[numbers]) == {image}


def test_draws_of_an_image_follow_the_inverse_frequency(rows):
    own = rows.of_image(0)
    counts = Counter(rows.draw(0, np.random.default_rng(n)) for n in range(3000))
    assert set(counts) == set(own.tolist())
    bins = rows.bin[own]
    shares = np.array(rows.bins()) / sum(rows.bins())
    expected = {row: 1 / shares[b - 1] / np.count_nonzero(bins == b) for row, b in zip(own.tolist(), bins, strict=True)}
    for row, weight in expected.items():
        assert counts[row] / 3000 == pytest.approx(weight / sum(expected.values()), abs=0.04)


def test_draws_of_the_whole_source_make_all_bins_as_likely(rows):
    there = [n for n, count in enumerate(rows.bins(), start=1) if count]
    drawn = Counter(int(rows.bin[rows.draw_any(np.random.default_rng(n))]) for n in range(3000))
    for bin_ in there:
        assert drawn[bin_] / 3000 == pytest.approx(1 / len(there), abs=0.05)


def test_scale_alone_can_be_the_granularity(proposals):
    by_scale = chosen(proposals, definition="scale")
    rows = table(proposals)
    areas = {(row["image_id"], row["instance_id"]): row["area"] for row in rows if row["kind"] == "object"}
    scales = [row["area"] / areas[row["image_id"], row["instance_id"]] for row in rows]
    assert by_scale.bins() == [sum(min(10, max(1, round(10 * scale))) == n for scale in scales) for n in range(1, 11)]
    assert by_scale.bins() != chosen(proposals).bins()


def test_the_root_of_the_scale_can_be_the_granularity(proposals):
    by_root = chosen(proposals, definition="root")
    rows = table(proposals)
    areas = {(row["image_id"], row["instance_id"]): row["area"] for row in rows if row["kind"] == "object"}
    lengths = [(row["area"] / areas[row["image_id"], row["instance_id"]]) ** 0.5 for row in rows]
    assert by_root.bins() == [sum(min(10, max(1, round(10 * each))) == n for each in lengths) for n in range(1, 11)]
    assert by_root.bins() != chosen(proposals, definition="scale").bins()


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
    by_scale = chosen(copy, definition="scale")
    assert by_scale.bin[(by_scale.shard == 0) & (by_scale.row == part)].tolist() == [4]


def test_objects_of_two_databases_count_once(proposals):
    database = open_proposals(str(proposals))
    assert choose_rows([database, database], "object", "both").bins() == chosen(proposals, "object").bins()


class RandomDatabase:
    """A database in memory: images with one to three objects each, and up to four masks per object."""

    def __init__(self, name, rng):
        self.sources = [{"dataset": {"name": name}}]
        self.shards = [
            [row for image in images for row in self.rows(f"{image}.jpg", rng)]
            for images in np.split(rng.permutation(9)[:7], [2, 3, 3])
        ]
        self.sidecars = dict.fromkeys(range(len(self.shards)))

    @staticmethod
    def rows(image, rng):
        for instance in rng.permutation(5)[: rng.integers(1, 4)]:
            area = int(rng.integers(1, 300))
            yield (image, instance, "object", 10, area)
            for _ in range(rng.integers(5)):
                yield (image, instance, rng.choice(KINDS[1:]), rng.integers(1, 11), rng.integers(1, area + 1))

    def table(self, name, columns, shards=None):
        if name == "images":
            return self.images().select(columns)
        rows = [row for shard in shards for row in self.shards[shard]]
        schema = pa.schema([FILES[name].field(column) for column in columns])
        return pa.table(list(map(list, zip(*rows, strict=True))) or [[]] * len(columns), schema=schema)

    def images(self):
        names = {row[0] for shard in self.shards for row in shard}
        facts = {"path": list(names), "sha256": [f"sha of {name}" for name in names], "source": [0] * len(names)}
        return pa.table({"image_id": list(names), **facts})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(["agg", "gt", "gt+agg", "object"]),
    st.sampled_from(["both", "scale", "root"]),
)
def test_rows_are_those_of_the_source_once_and_in_order(seed, source, definition):
    rng = np.random.default_rng(seed)
    databases = [RandomDatabase(name, rng) for name in ("cars", "cars", "birds")]
    images, objects, expected = [], set(), []
    for number, database in enumerate(databases):
        name = database.sources[0]["dataset"]["name"]
        for shard, rows in enumerate(database.shards):
            areas = {row[:2]: row[4] for row in rows if row[2] == "object"}
            for position, (image, instance, kind, bin_, area) in enumerate(rows):
                repeated = kind == "object" and (name, image, instance) in objects
                if kind not in KINDS_OF[source] or repeated:
                    continue
                if kind == "object":
                    objects.add((name, image, instance))
                if (name, image) not in images:
                    images.append((name, image))
                scale = area / areas[image, instance]
                bins = {"both": bin_, "scale": granularity_bin(scale), "root": granularity_bin(scale**0.5)}
                expected.append((images.index((name, image)), bins[definition], number, shard, position))
    rows = choose_rows(databases, source, definition)
    columns = (rows.image, rows.bin, rows.database, rows.shard, rows.row)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert [(image.dataset, image.path) for image in rows.images] == images
    assert all(image.sha256 == f"sha of {image.path}" for image in rows.images)


def test_source_without_masks_is_refused(proposals):
    built = open_proposals(str(proposals))
    assert "annotated" not in built.proposals(["kind"])["kind"].to_pylist()
    # The objects are in every source: alone they are none of these.
    for source in ("gt", "gt+agg"):
        with pytest.raises(
            UserError,
            match=f"--source {re.escape(source)} needs masks of kind annotated, and the database holds .* object",
        ):
            chosen(proposals, source)
    empty = replace(built, sidecars={})
    with pytest.raises(UserError, match="needs masks of kind part or complement, and the database holds nothing"):
        choose_rows([empty], "agg", "both")


def test_granularities_without_masks_are_named(proposals):
    assert empty_bin_notes(chosen(proposals, "object")) == [
        "no mask has granularity 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9: the model cannot learn it"
    ]
