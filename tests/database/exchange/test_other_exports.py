"""PNG masks, WebDataset's shards, and the folder for ``datasets``."""

import csv
import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.exchange.coco_import import import_coco
from agg_pipeline.database.exchange.exporting import LOST, export_database
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.execution.plan import stamp_of
from agg_pipeline.storage.rle import decode
from schemas.errors import UserError
from schemas.tables import PROPOSALS

UNNAMED = Naming()


def pictures(folder, numbers, naming=UNNAMED):
    """A database of photographs with some numbers, which can be found, and their folder."""
    root = folder / "data"
    (root / "img").mkdir(parents=True)
    counts = {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}
    images = [{"id": n, "file_name": f"img/{n}.PNG", "height": 4, "width": 6} for n in numbers]
    for image in images:
        Image.new("RGB", (6, 4), (image["id"], 0, 0)).save(root / image["file_name"])
    annotations = [{"id": n, "image_id": n, "segmentation": counts} for n in numbers]
    (folder / "x.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return import_coco(folder / "x.json", str(folder / "pictured"), naming), root


@pytest.fixture
def pictured(tmp_path):
    """A database of three photographs that can be found, and their folder."""
    return pictures(tmp_path, range(3))


def test_every_mask_is_in_its_png(database, tmp_path):
    export_database(database, "png", tmp_path / "x")
    rows = {row["proposal_id"]: row for row in database.proposals().to_pylist()}
    images = {row["image_id"]: row for row in database.images().to_pylist()}
    with (tmp_path / "x" / "masks.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [each["proposal_id"] for each in listed] != sorted(rows), "masks that overlap lie in later pictures"
    assert sorted(each["proposal_id"] for each in listed) == sorted(rows)
    for each in listed:
        with Image.open(tmp_path / "x" / each["file"]) as picture:
            assert picture.mode == "P"
            mask = np.asarray(picture) == int(each["index"])
        np.testing.assert_array_equal(mask, database.mask(rows[each["proposal_id"]]))
        row = rows[each["proposal_id"]]
        assert np.float32(each["granularity"]) == np.float32(row["granularity"])
        assert {side: int(each[side]) for side in row["bbox"]} == row["bbox"]
        assert int(each["source"]) == row["source"]
        image = images[each["image_id"]]
        assert [each[name] for name in ("path", "sha256", "licence")] == [
            image[name] for name in ("path", "sha256", "licence")
        ]
    # Every column but what the last line names as lost, and the run lengths and their size, which the picture shows.
    kept = {*PROPOSALS.names} - {"peak_proposal", "peak_object", "click", "clicks", "rle", "height", "width", "bbox"}
    assert kept <= set(listed[0])


def test_tar_shards_have_photographs_and_masks(pictured, tmp_path, monkeypatch):
    database, root = pictured
    monkeypatch.setattr("agg_pipeline.database.exchange.webdataset_export.IMAGES_PER_SHARD", 2)
    for name in ("x", "y"):
        export_database(database, "webdataset", tmp_path / name, roots={"": str(root)})
    shards = sorted((tmp_path / "x").iterdir())
    assert [shard.name for shard in shards] == ["00000.tar", "00001.tar"]
    names = []
    for shard in shards:
        assert shard.read_bytes() == (tmp_path / "y" / shard.name).read_bytes()
        with tarfile.open(shard) as tar:
            for entry in tar:
                assert (entry.mtime, entry.uid, entry.uname) == (0, 0, "")
                content = tar.extractfile(entry).read()
                names.append(entry.name)
                if entry.name.endswith(".json"):
                    document = json.loads(content)
                    (mask,) = document["masks"]
                    values = decode(mask["segmentation"]["counts"].encode(), *mask["segmentation"]["size"])
                    assert int(values.sum()) == mask["area"] == 4
                else:
                    assert content == (root / "img" / entry.name.replace("png", "PNG")).read_bytes()
    assert names == ["0.png", "0.json", "1.png", "1.json", "2.png", "2.json"]


@pytest.mark.parametrize("kind", ["webdataset", "hf"])
def test_photographs_of_several_data_sets(kind, tmp_path):
    first, second = (
        pictures(tmp_path / name, numbers, Naming(name=name))
        for name, numbers in (("first", (0, 1)), ("second", (2, 3)))
    )
    merged = merge([first[0], second[0]], str(tmp_path / "merged"))
    roots = {"first": str(first[1]), "second": str(second[1])}
    export_database(merged, kind, tmp_path / "x", roots=roots)
    with pytest.raises(UserError, match=r"the photographs of second are needed, too; give .* --data second:FOLDER$"):
        export_database(merged, kind, tmp_path / "y", roots={"first": roots["first"]})
    with pytest.raises(UserError, match=r"--data names 'third', but the databases are of .*first.*second"):
        export_database(merged, kind, tmp_path / "y", roots={"third": roots["first"]})
    assert not (tmp_path / "y").exists()


def test_without_photographs_there_is_json_alone(database, tmp_path):
    export_database(database, "webdataset", tmp_path / "x")
    with tarfile.open(tmp_path / "x" / "00000.tar") as tar:
        assert tar.getnames() == [f"{name}.json" for name in database.images()["image_id"].to_pylist()]


@pytest.mark.parametrize("kind", ["webdataset", "hf"])
def test_a_photograph_that_is_missing_or_another_is_refused(database, tmp_path, kind):
    with pytest.raises(UserError, match=r"img/im_0.png does not exist; give the root folder"):
        export_database(database, kind, tmp_path / "x", roots={"": str(tmp_path)})
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "im_0.png").write_bytes(b"another")
    with pytest.raises(UserError, match=r"im_0.png is another file than the one that the masks were made of"):
        export_database(database, kind, tmp_path / "x", roots={"": str(tmp_path)})
    assert not (tmp_path / "x").exists()


def test_the_folder_for_datasets_is_the_database_again(database, tmp_path):
    export_database(database, "hf", tmp_path / "x")
    again = open_proposals(str(tmp_path / "x"))
    assert database_id(again) == database_id(database)
    assert list(validate(again)) == []


def test_the_folder_for_datasets_has_photographs(pictured, tmp_path):
    database, root = pictured
    export_database(database, "hf", tmp_path / "x", roots={"": str(root)})
    front = yaml.safe_load((tmp_path / "x" / "README.md").read_text().split("---")[1])
    files = {config["config_name"]: config["data_files"] for config in front["configs"]}
    (path,) = (tmp_path / "x").glob(files["images"])
    table = pq.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert list(features) == table.column_names
    for row in table.to_pylist():
        content = row["image"]["bytes"]
        assert content == (root / row["path"]).read_bytes()
        assert Image.open(io.BytesIO(content)).size == (row["width"], row["height"])
    for pattern in files.values():
        assert list((tmp_path / "x").glob(pattern))
    for path in (tmp_path / "x").rglob("*.parquet"):
        found = pq.read_schema(path).metadata
        stamp = stamp_of(DATABASE_LAYOUT, database.plan).metadata
        assert {key: found[key.encode()].decode() for key in stamp} == stamp
    card, own = (tmp_path / "x" / "README.md").read_text(), database.store.read("README.md").decode()
    assert "| image | struct<bytes: binary, path: string> | file of the photograph" in card
    assert "It has no `plan.json` and no\n`manifest.json`" in card
    assert "holds the full configuration" not in card
    assert "holds the full configuration" in own and "| image |" not in own


def test_datasets_decodes_the_photographs(pictured, tmp_path):
    datasets = pytest.importorskip("datasets")
    database, root = pictured
    export_database(database, "hf", tmp_path / "x", roots={"": str(root)})
    loaded = datasets.load_dataset(str(tmp_path / "x"), "images", split="train", cache_dir=str(tmp_path / "cache"))
    assert [each["image"].size for each in loaded] == [(6, 4)] * 3


def test_a_database_of_objects_alone_is_no_pickle(pictured, tmp_path):
    database, _ = pictured
    with pytest.raises(UserError, match="has no masks but those of objects, which the pickle does not hold"):
        export_database(database, "released", tmp_path / "x.pkl")
    assert not (tmp_path / "x.pkl").exists()


def test_what_is_lost_is_said_for_every_format(database, tmp_path):
    for kind in LOST:
        said = export_database(database, kind, tmp_path / kind)
        assert said == list(LOST[kind])
        with pytest.raises(UserError, match="is there already"):
            export_database(database, kind, tmp_path / kind)
