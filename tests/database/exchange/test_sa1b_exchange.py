"""SA-1B's files: ours imported again, and those of others."""

import json

import pytest

from agg_pipeline.database.exchange.sa1b_exchange import export_sa1b, import_sa1b
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import Naming
from agg_pipeline.datasets.registry import open_dataset
from schemas.errors import UserError
from tests.datasets.writers import write_photo


def test_the_import_of_an_export_is_the_same_database(database, tmp_path):
    export_sa1b(database, tmp_path / "x")
    made = import_sa1b(tmp_path / "x", str(tmp_path / "made"), Naming())
    assert database_id(made) == database_id(database)
    assert list(validate(open_proposals(made.store.url))) == []


@pytest.mark.parametrize("changed", ["annotations/im_0.json", "agg.json"])
def test_an_export_that_was_changed_is_not_the_one_that_was_imported(database, tmp_path, changed):
    export_sa1b(database, tmp_path / "x")
    import_sa1b(tmp_path / "x", str(tmp_path / "made"), Naming())
    path = tmp_path / "x" / changed
    document = json.loads(path.read_text())
    for key in {"annotations", "agg_rejects"} & document.keys():
        document[key] = [each for each in document[key] if each.get("kind") == "object"]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="holds a database; choose another output folder, or use --overwrite"):
        import_sa1b(tmp_path / "x", str(tmp_path / "made"), Naming())


def test_files_are_as_sa1b_has_them(database, tmp_path):
    export_sa1b(database, tmp_path / "x")
    (tmp_path / "x" / "images").mkdir()
    files = sorted((tmp_path / "x" / "annotations").iterdir())
    assert [file.stem for file in files] == database.images()["image_id"].to_pylist()
    document = json.loads(files[0].read_text())
    assert document["image"]["file_name"] == "im_0.png"
    keys = ("id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords")
    assert all(key in annotation for key in keys for annotation in document["annotations"])
    row = next(row for row in database.of_image("im_0").to_pylist() if row["kind"] == "part")
    found = next(each for each in document["annotations"] if each["kind"] == "part")
    assert found["point_coords"] == [[row["click"]["col"], row["click"]["row"]]]
    for file in files:
        size = json.loads(file.read_text())["image"]
        write_photo(tmp_path / "x" / "images" / f"{file.stem}.jpg", size["height"], size["width"])
    dataset = open_dataset("sa1b", str(tmp_path / "x"), None)
    record = dataset.read(dataset.entries[0])
    assert len(record.objects) == database.of_image("im_0").num_rows


def test_masks_of_others_become_objects(tmp_path):
    folder = tmp_path / "sa" / "annotations"
    folder.mkdir(parents=True)
    image = {"image_id": 1, "height": 4, "width": 6, "file_name": "sa_1.jpg"}
    good = {"id": 5, "segmentation": {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}}
    beyond = {"id": 6, "segmentation": {"size": [4, 6], "counts": [5, 2, 2, 2, 999]}}
    (folder / "sa_1.json").write_text(json.dumps({"image": image, "annotations": [good, beyond, good, {"id": "x"}]}))
    (folder / "sa_2.json").write_text("{")
    (folder / "sa_3.json").write_text(
        json.dumps({"image": {**image, "height": 2**30, "width": 2**30}, "annotations": []})
    )
    (folder / "sa_4.json").write_text(
        json.dumps({"image": {**image, "file_name": "../../x.jpg"}, "annotations": [good]})
    )
    made = import_sa1b(tmp_path / "sa", str(tmp_path / "made"), Naming(licence="CC0"))
    assert list(validate(open_proposals(made.store.url))) == []
    assert made.proposals(["proposal_id"])["proposal_id"].to_pylist() == ["sa_1:5:object:0", "sa_4:5:object:0"]
    assert made.images()["path"].to_pylist() == ["images/sa_1.jpg", "images/x.jpg"]
    assert [(row["image_id"], row["reason"]) for row in made.rejects().to_pylist()] == [
        *[("sa_1", "unreadable_object")] * 3,
        ("sa_2", "unreadable_annotation"),
        ("sa_3", "unreadable_annotation"),
    ]


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no JSON files in its folder annotations"):
        import_sa1b(tmp_path, str(tmp_path / "made"), Naming())


def test_a_changed_export_is_refused(database, tmp_path):
    export_sa1b(database, tmp_path / "x")
    file = sorted((tmp_path / "x" / "annotations").iterdir())[0]
    document = json.loads(file.read_text())
    document["annotations"][0]["segmentation"] = [[0, 0, 9, 0, 9, 9]]
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match="has another mask than was exported"):
        import_sa1b(tmp_path / "x", str(tmp_path / "made"), Naming())
