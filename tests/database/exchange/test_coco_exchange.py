"""COCO's instance file: ours read by pycocotools and imported again, and those of others."""

import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from agg_pipeline.database.exchange.coco_export import export_coco
from agg_pipeline.database.exchange.coco_import import import_coco
from agg_pipeline.database.identity import database_id
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import NOTHING_SAID, Naming
from schemas.errors import UserError
from tests.datasets.writers import write_photo

SQUARE = {"size": [4, 6], "counts": [5, 2, 2, 2, 13]}


def written(path, document):
    path.write_text(json.dumps(document))
    return path


def foreign(tmp_path, images=None, annotations=(), **more):
    images = [{"id": 3, "file_name": "a/b.jpg", "height": 4, "width": 6}] if images is None else images
    document = {"annotations": list(annotations), "images": images, **more}
    return written(tmp_path / "foreign.json", document)


def entry(number=7, image=3, segmentation=SQUARE, **more):
    return {"id": number, "image_id": image, "segmentation": segmentation, **more}


@pytest.mark.parametrize("outlines", [False, True])
def test_pycocotools_reads_the_masks_and_the_import_is_the_same_database(database, tmp_path, outlines, capsys):
    export_coco(database, tmp_path / "x.json", outlines)
    coco = COCO(str(tmp_path / "x.json"))
    rows = database.proposals().to_pylist()
    assert len(coco.anns) == len(rows)
    for number, row in enumerate(rows, 1):
        np.testing.assert_array_equal(coco.annToMask(coco.anns[number]).astype(bool), database.mask(row))
        found = coco.anns[number]
        assert found["granularity"] == found["attributes"]["granularity"]
        assert np.float32(found["granularity"]) == np.float32(row["granularity"])
        assert found["attributes"]["kind"] == row["kind"]
        assert None not in found["attributes"].values()
        assert coco.cats[found["category_id"]]["name"] == (row["category"] or "object")
        assert coco.imgs[found["image_id"]]["file_name"] == f"img/{row['image_id']}.png"
    made = import_coco(tmp_path / "x.json", str(tmp_path / "made"), Naming())
    assert database_id(made) == database_id(database)
    assert list(validate(open_proposals(made.store.url))) == []
    assert made.rejects().sort_by("image_id").num_rows == database.rejects().num_rows
    assert made.plan["history"][-1] == {
        "command": "import",
        "options": {"format": "coco", "sha256": hashlib.sha256((tmp_path / "x.json").read_bytes()).hexdigest()},
        "parents": [database_id(database)],
    }
    capsys.readouterr()


def test_an_export_that_was_changed_is_not_the_one_that_was_imported(database, tmp_path):
    export_coco(database, tmp_path / "x.json")
    made = import_coco(tmp_path / "x.json", str(tmp_path / "made"), Naming())
    assert import_coco(tmp_path / "x.json", str(tmp_path / "made"), Naming()).plan == made.plan
    document = json.loads((tmp_path / "x.json").read_text())
    document["annotations"] = [each for each in document["annotations"] if each["kind"] != "complement"]
    written(tmp_path / "x.json", document)
    with pytest.raises(UserError, match="holds a database; choose another output folder, or use --overwrite"):
        import_coco(tmp_path / "x.json", str(tmp_path / "made"), Naming())
    kinds = import_coco(tmp_path / "x.json", str(tmp_path / "made"), Naming(), overwrite=True).proposals(["kind"])
    assert "complement" not in kinds["kind"].to_pylist()


def test_the_same_database_gives_the_same_bytes(database, tmp_path):
    for name in ("1.json", "2.json"):
        export_coco(database, tmp_path / name)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_numbers_are_the_shortest_of_their_float32(database, tmp_path):
    export_coco(database, tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())["annotations"]
    rows = database.proposals().to_pylist()
    assert [len(repr(each["granularity"])) <= 12 for each in found] == [True] * len(rows)
    assert [np.float32(each["peak_object"] or 0) for each in found] == [np.float32(r["peak_object"] or 0) for r in rows]


def test_masks_of_others_become_objects(tmp_path):
    annotations = [
        entry(9, segmentation=[[0, 0, 3, 0, 3, 2, 0, 2]], category_id=1),
        entry(7, category_id=2),
        entry(8, iscrowd=1),
    ]
    more = {"categories": [{"id": 1, "name": "cat"}], "licenses": [{"id": 5, "name": "CC0"}]}
    images = [
        {"id": 3, "file_name": "a/b.jpg", "height": 4, "width": 6, "license": 5},
        {"id": "20", "file_name": "c.jpg", "height": 4, "width": 6},
    ]
    path = foreign(tmp_path, images, annotations, **more)
    made = import_coco(path, str(tmp_path / "made"), Naming("birds", "CC BY 4.0", "me"))
    assert list(validate(open_proposals(made.store.url))) == []
    rows = made.proposals().to_pylist()
    assert [(row["proposal_id"], row["category"], row["area"], row["granularity"]) for row in rows] == [
        ("3:7:object:0", None, 4, 1.0),
        ("3:9:object:0", "cat", 6, 1.0),
    ]
    assert [(row["image_id"], row["path"], row["licence"], row["sha256"]) for row in made.images().to_pylist()] == [
        ("20", "c.jpg", "CC BY 4.0", ""),
        ("3", "a/b.jpg", "CC0", ""),
    ]
    assert [(row["image_id"], row["reason"]) for row in made.rejects().to_pylist()] == [("20", "no_object")]
    (source,) = made.sources
    assert source["dataset"]["name"] == "birds"
    assert source["model"]["architecture"] == "unknown"
    assert source["imported"]["format"] == "coco"


def test_the_card_of_imported_objects_speaks_of_no_model_that_was_run(tmp_path):
    import_coco(foreign(tmp_path, annotations=[entry()]), str(tmp_path / "made"), Naming())
    card = (tmp_path / "made" / "README.md").read_text()
    assert "A click model was given" not in card
    assert "No click model was run; the columns of peaks and clicks are null." in card
    assert "| model | unknown; the masks were imported |" in card
    (images,) = {line for line in card.splitlines() if line.startswith("| data |")}
    assert images.endswith("; 1 image |")


BROKEN = {
    "beyond its size": entry(segmentation={"size": [4, 6], "counts": [5, 2, 2, 2, 999]}),
    "another size": entry(segmentation={"size": [9999999, 9999999], "counts": "abc"}),
    "text": entry(segmentation={"size": [4, 6], "counts": "\x00\xff"}),
    "no segmentation": {"id": 7, "image_id": 3},
    "negative": entry(-4),
    "far polygon": entry(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]),
    "deep": entry(segmentation=json.loads("[" * 90 + "]" * 90)),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_annotation_costs_only_itself(tmp_path, broken):
    path = foreign(tmp_path, annotations=[broken, entry(11)])
    made = import_coco(path, str(tmp_path / "made"), Naming())
    assert made.proposals(["instance_id"]).to_pylist() == [{"instance_id": 11}]
    (row,) = made.rejects().to_pylist()
    assert row["reason"] == "unreadable_object"
    assert "\n" not in row["detail"]
    assert list(validate(open_proposals(made.store.url))) == []


@pytest.mark.parametrize(
    "image",
    [
        {"id": 4, "file_name": "../../etc/passwd", "height": 4, "width": 6},
        {"id": 4, "file_name": "/etc/passwd", "height": 4, "width": 6},
        {"id": 4, "file_name": "a.jpg", "height": 2**30, "width": 2**30},
        {"id": 4, "file_name": "a\nb.jpg", "height": 4, "width": 6},
        {"id": 4, "height": 4, "width": -6},
    ],
)
def test_a_broken_image_costs_only_itself(tmp_path, image):
    images = [{"id": 3, "file_name": "a.jpg", "height": 4, "width": 6}, image]
    path = foreign(tmp_path, images, [entry(), entry(8, 4)])
    made = import_coco(path, str(tmp_path / "made"), Naming())
    assert made.images()["image_id"].to_pylist() == ["3"]
    assert [(row["image_id"], row["reason"]) for row in made.rejects().to_pylist()] == [("4", "unreadable_annotation")]
    assert list(validate(open_proposals(made.store.url))) == []


def test_annotations_of_broken_images_are_told_from_those_of_none(tmp_path, caplog):
    images = [{"id": key, "file_name": f"{n}.jpg", "height": 4, "width": 6} for n, key in enumerate((3, 4, "a\nb"))]
    images[1]["width"] = -6
    owners = (3, 4, 4, "a\nb", 99)
    made = import_coco(
        foreign(tmp_path, images, [entry(7 + n, owner) for n, owner in enumerate(owners)]),
        str(tmp_path / "made"),
        Naming(),
    )
    assert made.proposals(["instance_id"]).to_pylist() == [{"instance_id": 7}]
    assert sorted(row["image_id"] for row in made.rejects().to_pylist()) == ["4", "images[2]"]
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "1 annotation left out, of no listed image",
        "3 annotations left out, of images that cannot be used",
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"images": [], "annotations": []}, "it lists no image"),
        ({"images": {"a": 1}, "annotations": []}, "images is no list"),
        ({"images": [{"id": 1, "height": 1, "width": 1}] * 2}, "gives two images the same id 1"),
        ({"agg": {"sources": []}, "images": []}, "agg: "),
    ],
)
def test_what_is_no_instance_file_is_refused_in_one_line(tmp_path, document, problem):
    with pytest.raises(UserError) as caught:
        import_coco(written(tmp_path / "x.json", document), str(tmp_path / "made"), Naming())
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def changed(database, tmp_path, change):
    export_coco(database, tmp_path / "x.json")
    document = json.loads((tmp_path / "x.json").read_text())
    change(document)
    return written(tmp_path / "y.json", document)


CHANGES = {
    "another mask": (lambda d: d["annotations"][0].update(segmentation=[[0, 0, 9, 0, 9, 9]]), "has another mask than"),
    "a kind": (lambda d: d["annotations"][0].update(kind="x\ny"), r"unknown kind 'x\\ny'"),
    "a source": (lambda d: d["annotations"][0].update(source=3), "is of source 3, and the file lists 1 from 0"),
    "no granularity": (lambda d: d["annotations"][0].pop("granularity"), "exported by agg, and changed"),
    "a granularity": (lambda d: d["annotations"][0].update(granularity=7), "exported by agg, and changed"),
    "a path": (lambda d: d["images"][0].update(path="../x"), "is no path in the data set"),
    "a reason": (lambda d: d["agg_rejects"][0].update(reason="bored"), "unknown reason 'bored'"),
    "an image": (lambda d: d["images"][1].update(agg_id=d["images"][0]["agg_id"]), "same agg_id"),
    "a version": (lambda d: d["agg"].update(format_version=9), "has format 9"),
}


@pytest.mark.parametrize(("change", "problem"), CHANGES.values(), ids=CHANGES)
def test_our_own_file_is_refused_if_it_was_changed(database, tmp_path, change, problem):
    path = changed(database, tmp_path, change)
    with pytest.raises(UserError, match=problem) as caught:
        import_coco(path, str(tmp_path / "made"), Naming())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made" / "manifest.json").exists()


def test_our_own_file_without_its_key_is_one_of_others(database, tmp_path):
    path = changed(database, tmp_path, lambda document: document.pop("agg"))
    made = import_coco(path, str(tmp_path / "made"), Naming())
    assert set(made.proposals(["kind"])["kind"].to_pylist()) == {"object"}
    assert made.proposals().num_rows == database.proposals().num_rows
    assert list(validate(open_proposals(made.store.url))) == []


def test_files_of_two_programs_share_images_if_their_sha256_was_taken(tmp_path):
    photographs = tmp_path / "photographs"
    write_photo(photographs / "a/b.jpg")
    write_photo(photographs / "c.jpg", seed=1)
    for name, file in (("ours", "a/b.jpg"), ("theirs", "a/b.jpg"), ("other", "c.jpg")):
        path = foreign(tmp_path, [{"id": 3, "file_name": file, "height": 4, "width": 6}], [entry()])
        import_coco(path, str(tmp_path / f"{name}-alone"), Naming(name))
        import_coco(path, str(tmp_path / name), Naming(name), data=str(photographs))
    ours, theirs, other, alone = (open_proposals(tmp_path / name) for name in ("ours", "theirs", "other", "ours-alone"))
    assert merge([ours, theirs], str(tmp_path / "same")).images().num_rows == 1
    unknown = "may be another one than that of .*; import with --data"
    for second, said in ((other, "has other content than"), (alone, unknown)):
        with pytest.raises(UserError, match=f"^image 3 of {second.store.url} {said}"):
            merge([ours, second], str(tmp_path / "refused"))
    assert merge([ours, other], str(tmp_path / "two"), conflicts="rename").images().num_rows == 2
    (photographs / "a/b.jpg").unlink()
    with pytest.raises(UserError, match=r"photographs: a/b.jpg does not exist; --data is the folder around the paths"):
        path = foreign(tmp_path, [{"id": 3, "file_name": "a/b.jpg", "height": 4, "width": 6}], [entry()])
        import_coco(path, str(tmp_path / "lost"), Naming("ours"), data=str(photographs))


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("agg_pipeline.database.exchange.json_entry_stream.CHUNK", 1 << 14)
    size = {"height": 4, "width": 6}
    peaks = []
    for images in (20, 200):
        listed = [{"id": n, "file_name": f"{n}.jpg", **size} for n in range(images)]
        more = [entry(k, n, note="x" * 5000) for n in range(images) for k in range(10)]
        path = foreign(tmp_path, listed, more)
        tracemalloc.start()
        import_coco(path, str(tmp_path / f"made{images}"), Naming())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peaks[1] - peaks[0] < 2_000_000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped")
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 4, "width": 6} for n in (1, 2)]
    content = bytearray(foreign(folder, images, [entry(1, 1), entry(2, 2)]).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "x.json").write_bytes(content[: data.draw(st.integers(len(content) - 5, len(content)))])
    try:
        made = import_coco(folder / "x.json", str(folder / "made"), Naming())
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert list(validate(open_proposals(made.store.url))) == []


def test_keys_that_fiftyone_uses_otherwise_are_not_taken(database, tmp_path):
    """It merges ``attributes`` into the annotation and hands all keys but COCO's own to its ``Detection``."""
    export_coco(database, tmp_path / "x.json")
    (annotation, *_) = json.loads((tmp_path / "x.json").read_text())["annotations"]
    keys = {*annotation, *annotation["attributes"]} - {"id"}
    assert {"granularity", "part_label", "object_id"} <= keys
    assert not keys & {
        "label",
        "instance",
        "instance_id",
        "mask",
        "mask_path",
        "index",
        "confidence",
        "bounding_box",
        "tags",
    }


def test_an_annotation_with_a_number_that_json_does_not_have_is_a_reject(tmp_path):
    good, bad = entry(9, category_id=1), entry(7, category_id=1, area=float("nan"))
    images = [{"id": 3, "file_name": "a.jpg", "height": 4, "width": 6}]
    made = import_coco(foreign(tmp_path, images, [good, bad]), str(tmp_path / "made"), NOTHING_SAID)
    assert [row["instance_id"] for row in made.proposals().to_pylist()] == [9]
    (reject,) = made.rejects().to_pylist()
    assert (reject["image_id"], reject["reason"]) == ("3", "unreadable_object")
    assert list(validate(made)) == []


def test_the_card_of_an_imported_database_says_that_it_was_imported(tmp_path):
    images = [{"id": 3, "file_name": "a.jpg", "height": 4, "width": 6}]
    import_coco(foreign(tmp_path, images, [entry(9, category_id=1)]), str(tmp_path / "made"), Naming("birds"))
    card = (tmp_path / "made/README.md").read_text()
    assert "Masks that were imported from files of other programs." in card
    assert "- source 0: imported from " in card
    assert "- birds, unknown: as in the file of another program that was imported" in card
    assert "preset" not in card.partition("## Granularity")[0]
    assert "GraCo" not in (tmp_path / "made/CITATION.cff").read_text()
