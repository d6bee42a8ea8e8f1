"""Those who use a database: with pandas, DuckDB and pycocotools alone, or through ``open_proposals``."""

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from scipy.io import loadmat

from agg_pipeline import open_proposals
from schemas.errors import UserError
from tests.e2e.small_set import HEIGHT, WIDTH

# Runs in an interpreter of its own, in which this project cannot be imported.
WITHOUT_THIS_PROJECT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("agg_pipeline", "stages", "schemas"):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Absent())
for name in ("agg_pipeline", "stages", "schemas"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"{name} can be imported")
root = sys.argv[1]
"""

CHECK_MASKS = """
import numpy as np
import pandas
from pycocotools import mask as coco

rows = pandas.read_parquet(f"{root}/proposals")
images = pandas.read_parquet(f"{root}/images")
sampling = pandas.read_parquet(f"{root}/sampling.parquet")
assert len(rows) > 8 and set(rows.kind) == {"object", "part", "complement"}, rows.kind
objects = {}
for row in sorted(rows.to_dict("records"), key=lambda row: row["kind"] != "object"):
    counts = {"size": [row["height"], row["width"]], "counts": row["rle"]}
    mask = coco.decode(counts).astype(bool)
    assert mask.shape == (row["height"], row["width"])
    assert mask.sum() == row["area"] == coco.area(counts) > 0
    assert list(row["bbox"].values()) == coco.toBbox(counts).astype(int).tolist()
    assert list(row["bbox"]) == ["x", "y", "w", "h"]
    if row["kind"] == "object":
        objects[row["proposal_id"]] = mask
    else:
        owner = objects[row["parent_id"]]
        assert not (mask & ~owner).any()
        assert row["scale"] == np.float32(mask.sum() / owner.sum())
        assert row["clicks"][0]["positive"] and not any(click["positive"] for click in row["clicks"][1:])
        assert mask[row["click"]["row"], row["click"]["col"]]
joined = rows.merge(images, on="image_id", suffixes=("", "_image"), validate="many_to_one")
assert len(joined) == len(rows)
assert (joined.height == joined.height_image).all() and (joined.width == joined.width_image).all()
weighted = rows.merge(sampling, on=["kind", "bin"], validate="many_to_one")
assert len(weighted) == len(rows)
share = rows.bin.map(rows.bin.value_counts() / len(rows))
assert np.allclose(weighted.set_index("proposal_id").weight, 1 / share.set_axis(rows.proposal_id))
draws = weighted.groupby("bin").weight.sum()
assert np.allclose(draws, draws.iloc[0]), "every granularity is drawn as often as any other"
print("masks", len(rows))
"""

CHECK_UNITS = """
import pyarrow.parquet as pq

for table in ("proposals", "images", "rejects"):
    schema = pq.read_schema(f"{root}/{table}/part-00000.parquet")
    for field in schema:
        assert field.metadata[b"unit"] and field.metadata[b"nullable"] in (b"true", b"false"), field
assert pq.read_schema(f"{root}/proposals/part-00000.parquet").field("area").metadata[b"unit"] == b"pixels of the mask"
print("units")
"""

QUERY = """
import duckdb

rows = f"'{root}/proposals/*.parquet'"
count = duckdb.sql(f"select kind, bin, count(*) from {rows} group by all").fetchall()
stored = duckdb.sql(f"select kind, bin, count from '{root}/sampling.parquet'").fetchall()
assert sorted(count) == sorted(stored) and len(count) > 2
joined = duckdb.sql(f'''
    select part.proposal_id, part.area / owner.area, part.scale, image.height, image.path, s.weight, part.bbox.w
    from {rows} part
    join {rows} owner on part.parent_id = owner.proposal_id
    join '{root}/images/*.parquet' image on part.image_id = image.image_id
    join '{root}/sampling.parquet' s on part.kind = s.kind and part.bin = s.bin
''').fetchall()
parts = duckdb.sql(f"select count(*) from {rows} where kind <> 'object'").fetchall()[0][0]
assert len(joined) == parts > 0
for _, ratio, scale, height, path, weight, width in joined:
    assert abs(ratio - scale) < 1e-6 and height == 60 and path.startswith("img/") and weight >= 1 and width >= 1
clicks = duckdb.sql(f"select unnest(clicks, recursive := true) from {rows} where kind = 'part'").fetchall()
assert len(clicks) >= len(joined) / 2 and all(len(click) == 3 for click in clicks)
print("rows", len(joined))
"""


def run_without_this_project(code, *arguments):
    result = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_THIS_PROJECT + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_pandas_and_pycocotools(finished):
    assert "masks" in run_without_this_project(CHECK_MASKS, finished.out / "database")


def test_units_lie_in_the_files(finished):
    assert "units" in run_without_this_project(CHECK_UNITS, finished.out / "database")


def test_duckdb(finished):
    assert "rows" in run_without_this_project(QUERY, finished.out / "database")


def test_front_matter_of_the_card(finished):
    root = finished.out / "database"
    opening, front, text = (root / "README.md").read_text().split("---\n", 2)
    assert opening == ""
    head = yaml.safe_load(front)
    assert head["task_categories"] == ["image-segmentation", "mask-generation"]
    matched = set()
    for config in head["configs"]:
        found = set(root.glob(config["data_files"]))
        assert found, config
        matched |= found
    assert matched == set(root.rglob("*.parquet"))
    assert [config["config_name"] for config in head["configs"] if config.get("default")] == ["proposals"]
    assert "| licence of the data | CC0-1.0 |" in text
    assert "| citation of the data | drawn for tests |" in text
    assert "Flickr" not in text
    assert "`granularity` = (1 - lambda) * `scale` + lambda * `semantic` (Eq. 6)" in text
    assert "- Shapes, train: lambda is 0.5; where peak_object is below 0.05, semantic is scale" in text
    assert "- source 0: run " in text


def test_no_path_of_this_machine_is_published(finished):
    root = finished.out / "database"
    for path in (*root.glob("*.json"), *root.glob("shards/*"), root / "README.md"):
        assert str(finished.data.parent) not in path.read_text()
    for row in open_proposals(str(root)).images().to_pylist():
        assert re.fullmatch(r"img/2008_00000\d\.jpg", row["path"])


@pytest.mark.parametrize("place", ["", "database"])
def test_open_proposals(finished, place):
    database = open_proposals(finished.out / place)
    table = database.of_image("2008_000002")
    assert set(table["image_id"].to_pylist()) == {"2008_000002"}
    truth = loadmat(finished.data / "inst/2008_000002.mat")["GTinst"][0, 0]["Segmentation"]
    shown = 0
    for row, mask in zip(table.to_pylist(), database.masks(table), strict=True):
        assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.bool_)
        assert mask.sum() == row["area"]
        if row["kind"] == "object":
            np.testing.assert_array_equal(mask, truth == row["instance_id"])
            shown += 1
    assert shown == 2
    weights = database.sampling_weights()
    bins = database.proposals(["bin"])["bin"].to_numpy()
    assert len(weights) == len(bins) == database.proposals().num_rows
    totals = [weights[bins == number].sum() for number in np.unique(bins)]
    np.testing.assert_allclose(totals, totals[0])
    with pytest.raises(UserError, match=r"has no image '2008_00002'; did you mean 2008_000002"):
        database.of_image("2008_00002")
