"""PASCAL-Part in its exact layout: ``.mat`` files of objects with parts; part names; nested parts; the real sample."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from agg_pipeline.datasets.pascal_part import NESTED, nested, part_name, splits
from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.selection import Selection, select
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.crop import crop_mask
from schemas.errors import ImageError, UserError
from tests.datasets.writers import square, structs, write_anno, write_mat_73, write_photo

SHAPE = 40, 50


def box(*place):
    return square(SHAPE, *place)


DOG = box(2, 2, 30, 30)
PARTS = [
    ("nose", box(14, 8, 2, 3)),
    ("head", box(4, 4, 16, 16)),
    ("leye", box(6, 6, 2, 2)),
    ("muzzle", box(12, 6, 7, 8)),
    ("torso", box(20, 4, 10, 20)),
    ("lfpa", box(28, 4, 2, 3)),
]
BOAT = box(30, 35, 8, 10)
OBJECTS = [("dog", 12, DOG, PARTS), ("boat", 4, BOAT, [])]


@pytest.fixture
def root(tmp_path):
    for number, image_id in enumerate(("2008_000002", "2008_000003", "2008_000004", "2008_000005")):
        write_photo(tmp_path / "JPEGImages" / f"{image_id}.jpg", *SHAPE, seed=number)
        if image_id != "2008_000005":
            write_anno(tmp_path / "Annotations_Part" / f"{image_id}.mat", OBJECTS)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2008_000004\n2008_000002\n")
    (lists / "val.txt").write_text("2008_000003\n2008_000005\n")
    return tmp_path


def annotation_of(root):
    return root / "Annotations_Part" / "2008_000003.mat"


def record_of(root):
    dataset = open_dataset("pascal_part", str(root), "val")
    return dataset.read(dataset.entries[0])


def test_objects_and_parts_match_the_file(root):
    record = record_of(root)
    assert record.image_id == "2008_000003"
    assert [(instance.instance_id, instance.category) for instance in record.objects] == [(1, "dog"), (2, "boat")]
    dog, boat = record.objects
    np.testing.assert_array_equal(dog.mask.full(), DOG)
    np.testing.assert_array_equal(boat.mask.full(), BOAT)
    assert boat.parts == ()
    assert [part.label for part in dog.parts] == [label for label, _ in PARTS]
    for part, (_, mask) in zip(dog.parts, PARTS, strict=True):
        np.testing.assert_array_equal(part.mask.full(), mask)
    assert record.ignore is None


def test_parts_have_readable_names_and_the_part_around_them(root):
    parts = {part.label: (part.name, part.parent_id) for part in record_of(root).objects[0].parts}
    assert parts == {
        "head": ("head", None),
        "leye": ("left eye", "head"),
        "muzzle": ("muzzle", "head"),
        "nose": ("nose", "muzzle"),
        "torso": ("torso", None),
        "lfpa": ("left front paw", "torso"),
    }


def test_image_without_an_annotation_is_listed_and_an_image_error(root):
    dataset = open_dataset("pascal_part", str(root), "val")
    assert [entry.image_id for entry in dataset.entries] == ["2008_000003", "2008_000005"]
    with pytest.raises(ImageError, match=r"Annotations_Part/2008_000005\.mat does not exist"):
        dataset.read(dataset.entries[1])


def test_split_whose_images_have_no_annotation_is_refused(root):
    (root / "ImageSets" / "Main" / "val.txt").write_text("2008_000005\n")
    with pytest.raises(UserError, match="annotation"):
        open_dataset("pascal_part", str(root), "val")


def test_class_list_leaves_out_the_images_without_the_class(root):
    lists = root / "ImageSets" / "Main"
    (lists / "dog_train.txt").write_text("2008_000002 -1\n2008_000003  1\n2008_000004  0\n")
    dataset = open_dataset("pascal_part", str(root), "dog_train")
    assert [entry.image_id for entry in dataset.entries] == ["2008_000003", "2008_000004"]
    dataset = open_dataset("pascal_part", str(root), str(lists / "dog_train.txt"))
    assert [entry.image_id for entry in dataset.entries] == ["2008_000003", "2008_000004"]


def test_lists_of_one_class_are_no_splits_of_their_own(root):
    # The published folder has forty and more of them: reading every list would read every image many times.
    for name in ("dog_train", "dog_val", "tvmonitor_val"):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("2008_000003  1\n")
    assert splits(Store(str(root))) == ("train", "val")


def test_class_list_without_any_image_is_refused(root):
    (root / "ImageSets" / "Main" / "boat_val.txt").write_text("2008_000002 -1\n2008_000003 -1\n")
    with pytest.raises(UserError, match="lists no image"):
        open_dataset("pascal_part", str(root), "boat_val")


def test_unknown_split_names_those_that_are_there(root):
    with pytest.raises(UserError, match=r"test\.txt does not exist; possible: train, val, or a list file \(\*\.txt\)$"):
        open_dataset("pascal_part", str(root), "test")


def test_parts_of_one_label_keep_apart(root):
    parts = [("wing", box(2, 2, 4, 4)), ("wing", box(10, 2, 4, 4)), ("wing", box(20, 2, 4, 4))]
    write_anno(annotation_of(root), [("aeroplane", 1, DOG, parts)])
    (plane,) = record_of(root).objects
    assert [part.part_id for part in plane.parts] == ["wing", "wing#2", "wing#3"]
    assert [part.label for part in plane.parts] == ["wing"] * 3


def test_image_without_objects_reads(root):
    write_anno(annotation_of(root), [])
    assert record_of(root).objects == ()


def refused(root):
    with pytest.raises(ImageError) as error:
        record_of(root)
    assert str(root) not in error.value.detail
    assert "2008_000003.mat" in error.value.detail
    assert "\n" not in error.value.detail
    return error.value


def test_file_of_matlab_73_says_how_to_convert_it(root):
    write_mat_73(annotation_of(root))
    error = refused(root)
    assert error.reason == "unreadable_annotation"
    assert "MATLAB 7.3" in error.detail
    assert "save it with '-v7'" in error.detail


def test_mask_of_another_size_is_refused(root):
    write_anno(annotation_of(root), [("dog", 12, DOG.T, [])])
    error = refused(root)
    assert error.reason == "size_mismatch"
    assert "50x40, its image 40x50" in error.detail
    assert "dog 1" in error.detail


@pytest.mark.parametrize(
    "content",
    [
        {"GTinst": {"Segmentation": DOG}},
        {"anno": DOG},
        {"anno": "text"},
        {"anno": {"imname": "2008_000003"}},
        {"anno": {"objects": "text"}},
        {"anno": {"objects": {"class": "dog"}}},
        {"anno": {"objects": {"class": "", "mask": DOG, "parts": []}}},
        {"anno": {"objects": {"class": "dog", "mask": "text", "parts": []}}},
        {"anno": {"objects": {"class": "dog", "mask": np.zeros((40, 50, 3)), "parts": []}}},
    ],
    ids=str,
)
def test_file_that_lacks_what_it_should_hold_is_refused(root, content):
    savemat(annotation_of(root), content)
    assert refused(root).reason in ("unreadable_annotation", "size_mismatch")


def test_annotation_without_an_image_is_a_stray(root):
    write_anno(root / "Annotations_Part" / "2008_999999.mat", OBJECTS)
    (stray,) = open_dataset("pascal_part", str(root), "val").strays()
    assert stray == "Annotations_Part/2008_999999.mat belongs to no image in JPEGImages"


SIDES = {"front": "front side", "left": "left side", "right": "right side", "back": "back side", "roof": "roof side"}
NAMES = {
    # aeroplane, bicycle, motorbike, bottle, pottedplant, tvmonitor
    "body": "body", "stern": "stern", "lwing": "left wing", "rwing": "right wing", "tail": "tail",
    "engine_1": "engine 1", "engine_6": "engine 6", "wheel_1": "wheel 1", "wheel_8": "wheel 8",
    "fwheel": "front wheel", "bwheel": "back wheel", "saddle": "saddle", "handlebar": "handlebar",
    "chainwheel": "chain wheel", "headlight_1": "headlight 1", "cap": "cap", "pot": "pot", "plant": "plant",
    "screen": "screen",
    # bus, car
    **{f"{side}side": words for side, words in SIDES.items()},
    "leftmirror": "left mirror", "rightmirror": "right mirror", "fliplate": "front licence plate",
    "bliplate": "back licence plate", "door_2": "door 2", "window_10": "window 10",
    # train
    **{f"h{side}side": f"head {words}" for side, words in SIDES.items()},
    **{f"c{side}side_3": f"coach {words} 3" for side, words in SIDES.items()}, "coach_2": "coach 2",
    # animals
    "head": "head", "leye": "left eye", "reye": "right eye", "lear": "left ear", "rear": "right ear", "beak": "beak",
    "nose": "nose", "muzzle": "muzzle", "lhorn": "left horn", "rhorn": "right horn", "torso": "torso", "neck": "neck",
    "lleg": "left leg", "rleg": "right leg", "lfoot": "left foot", "rfoot": "right foot",
    "lfleg": "left front leg", "rfleg": "right front leg", "lbleg": "left back leg", "rbleg": "right back leg",
    "lfpa": "left front paw", "rfpa": "right front paw", "lbpa": "left back paw", "rbpa": "right back paw",
    "lfuleg": "left front upper leg", "lflleg": "left front lower leg", "rfuleg": "right front upper leg",
    "rflleg": "right front lower leg", "lbuleg": "left back upper leg", "lblleg": "left back lower leg",
    "rbuleg": "right back upper leg", "rblleg": "right back lower leg", "lfho": "left front hoof",
    "rfho": "right front hoof", "lbho": "left back hoof", "rbho": "right back hoof",
    # person
    "lebrow": "left eyebrow", "rebrow": "right eyebrow", "mouth": "mouth", "hair": "hair",
    "llarm": "left lower arm", "luarm": "left upper arm", "rlarm": "right lower arm", "ruarm": "right upper arm",
    "lhand": "left hand", "rhand": "right hand", "llleg": "left lower leg", "luleg": "left upper leg",
    "rlleg": "right lower leg", "ruleg": "right upper leg",
}  # fmt: skip


@pytest.mark.parametrize(("label", "words"), NAMES.items())
def test_published_name_in_words(label, words):
    assert part_name(label) == words


def test_no_two_published_names_share_their_words():
    assert len(set(map(part_name, NAMES))) == len(NAMES)


def test_unknown_name_is_kept():
    assert (part_name("flipper"), part_name("flipper_2"), part_name("dorsal fin")) == (
        "flipper",
        "flipper 2",
        "dorsal fin",
    )


def parents(*parts):
    found = nested([(label, crop_mask(mask, *SHAPE)) for label, mask in parts])
    return {part.part_id: part.parent_id for part in found}


def test_part_is_nested_from_nine_tenths_of_its_pixels():
    head = box(0, 0, 20, 20)
    assert parents(("head", head), ("ear", box(0, 11, 10, 10)))["ear"] == "head"
    assert parents(("head", head), ("ear", box(0, 12, 10, 10)))["ear"] is None


def test_equal_masks_are_not_nested():
    assert parents(("a", box(1, 1, 5, 5)), ("b", box(1, 1, 5, 5))) == {"a": None, "b": None}


def test_part_without_pixels_has_no_part_around_it():
    assert parents(("head", box(0, 0, 9, 9)), ("eye", box(0, 0, 0, 0))) == {"head": None, "eye": None}


rectangles = st.tuples(st.integers(0, 30), st.integers(0, 40), st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["head", "eye", "ear"]), rectangles), max_size=7))
def test_parent_is_the_smallest_larger_part_that_holds_a_part(drawn):
    masks = [box(*place) for _, place in drawn]
    parts = nested([(label, crop_mask(mask, *SHAPE)) for (label, _), mask in zip(drawn, masks, strict=True)])
    assert len({part.part_id for part in parts}) == len(parts)
    sizes = {part.part_id: mask.sum() for part, mask in zip(parts, masks, strict=True)}
    for part, mask in zip(parts, masks, strict=True):
        around = [
            other.sum()
            for other in masks
            if 0 < mask.sum() < other.sum() and (mask & other).sum() >= NESTED * mask.sum()
        ]
        assert (part.parent_id is None) == (not around)
        if around:
            assert sizes[part.parent_id] == min(around)


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_images_agree_with_their_files(shared, split):
    root = shared / "data" / "pascal-part-mini"
    dataset = open_dataset("pascal_part", str(root), split)
    ids = sorted((root / "ImageSets" / "Main" / f"{split}.txt").read_text().split())
    assert [entry.image_id for entry in dataset.entries] == ids
    ours, theirs = Counter(), Counter()
    for entry in dataset.entries:
        content = loadmat(root / "Annotations_Part" / f"{entry.image_id}.mat", simplify_cells=True)["anno"]["objects"]
        things = content if isinstance(content, list) else [content]
        record = dataset.read(entry)
        for instance, truth in zip(record.objects, things, strict=True):
            found = truth["parts"]
            found = [found] if isinstance(found, dict) else list(found)
            ours[instance.category, None] += 1
            theirs[truth["class"], None] += 1
            np.testing.assert_array_equal(instance.mask.full(), truth["mask"] > 0)
            assert len({part.part_id for part in instance.parts}) == len(found)
            for part, other in zip(instance.parts, found, strict=True):
                ours[instance.category, part.label] += 1
                theirs[truth["class"], other["part_name"]] += 1
                np.testing.assert_array_equal(part.mask.full(), other["mask"] > 0)
    assert ours == theirs
    assert len(ids) == {"train": 4, "val": 8}[split]
    assert ours["dog", None] == {"train": 2, "val": 3}[split]
    assert not dataset.strays()


def test_real_eyes_lie_in_heads(shared):
    dataset = open_dataset("pascal_part", str(shared / "data" / "pascal-part-mini"), "val")
    eyes = [
        part.parent_id
        for entry in dataset.entries
        for instance in dataset.read(entry).objects
        for part in instance.parts
        if part.label in ("leye", "reye") and any(other.label == "head" for other in instance.parts)
    ]
    assert len(eyes) > 5
    assert set(eyes) == {"head"}


def test_published_table_is_a_diningtable(root):
    # The annotations call class 11 a table, PASCAL's list a diningtable.
    write_anno(annotation_of(root), [("table", 11, DOG, []), ("dog", 11, BOAT, []), ("lamp", 21, BOAT, [])])
    dataset = open_dataset("pascal_part", str(root), "val")
    assert [each.category for each in dataset.read(dataset.entries[0]).objects] == ["diningtable", "dog", "lamp"]
    for chosen in (Selection(classes=("diningtable",)), Selection(classes=("10",))):
        (instance,) = select(dataset, chosen).read(dataset.entries[0]).objects
        np.testing.assert_array_equal(instance.mask.full(), DOG)
    skipped = select(dataset, Selection(skip_classes=("diningtable",))).read(dataset.entries[0])
    assert [each.category for each in skipped.objects] == ["dog", "lamp"]
    with pytest.raises(UserError, match=r"pascal_part has no class 'table'; possible: .*, diningtable, "):
        select(dataset, Selection(classes=("table",)))


@pytest.mark.parametrize(
    ("objects", "what"),
    [
        ([("dog\x1b[31m", 21, DOG, [])], "object 1, class has a control character"),
        ([("x" * 5000, 21, DOG, [])], "object 1, class has 5,000 characters"),
        ([("dog", 12, DOG, [("eye", DOG)] * 5)], "dog 1 has 5 parts; the limit is 4"),
    ],
)
def test_names_and_parts_without_limit_are_refused(root, monkeypatch, objects, what):
    monkeypatch.setattr(limits, "PARTS_PER_OBJECT", 4)
    write_anno(annotation_of(root), objects)
    with pytest.raises(ImageError, match=what) as error:
        record_of(root)
    assert error.value.reason == "unreadable_annotation"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (("dog", 12, DOG.T, []), "dog 2 is 50x40, its image 40x50 (rows x columns); height and width are swapped"),
        (("a\x07", 12, DOG, []), "object 2, class has a control character"),
        ((3.0, 12, DOG, []), "object 2, class is not a text"),
        ((np.array(["cat"], object), 12, DOG, []), "object 2, class is not a text"),
        ((np.array(["dog", "cat"]), 12, DOG, []), "object 2, class is not a text"),
    ],
    ids=["size", "name", "number", "cell", "two texts"],
)
def test_a_broken_object_costs_only_itself(root, broken, said):
    write_anno(annotation_of(root), [("dog", 12, DOG, []), broken, ("dog", 12, DOG, [])])
    record = record_of(root)
    assert [instance.instance_id for instance in record.objects] == [1, 3]
    (reject,) = record.rejects
    assert (reject.instance_id, reject.reason) == (2, "unreadable_object")
    assert reject.detail.endswith(said)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (("head", DOG.T), "dog 1, head is 50x40, its image 40x50 (rows x columns); height and width are swapped"),
        (("a\nb", DOG), "dog 1, part_name has a control character"),
    ],
    ids=["size", "name"],
)
def test_a_broken_part_costs_only_itself(root, broken, said):
    write_anno(annotation_of(root), [("dog", 12, DOG, [("tail", DOG), broken])])
    record = record_of(root)
    (dog,) = record.objects
    assert [part.label for part in dog.parts] == ["tail"]
    (reject,) = record.rejects
    assert (reject.instance_id, reject.reason) == (1, "unreadable_object")
    assert said in reject.detail


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.where(DOG, np.nan, 0), "has numbers that are not whole"),
        (np.where(DOG, np.inf, 0.5), "has numbers that are not whole"),
        (DOG * 0.7, "has numbers that are not whole"),
        (-DOG.astype(np.int8), "has numbers below 0"),
        (np.full(SHAPE, "0", object), "is not an array of real numbers"),
        (DOG * 1j, "is not an array of real numbers"),
        (csc_matrix(DOG.astype(float)), "is not an array of real numbers"),
    ],
    ids=["not a number", "infinite", "fractions", "negative", "cells", "complex", "sparse"],
)
@pytest.mark.parametrize("of", ["object", "part"])
def test_mask_that_says_nothing_about_pixels_costs_only_itself(root, values, said, of):
    parts = structs([("tail", values), ("head", DOG)] if of == "part" else [], ("part_name", "mask"))
    things = structs(
        [("dog", 12.0, DOG, parts), ("cat", 8.0, DOG if of == "part" else values, [])],
        ("class", "class_ind", "mask", "parts"),
    )
    savemat(annotation_of(root), {"anno": structs([("x", things)], ("imname", "objects"))})
    record = record_of(root)
    assert [instance.instance_id for instance in record.objects] == ([1, 2] if of == "part" else [1])
    assert [part.label for part in record.objects[0].parts] == (["head"] if of == "part" else [])
    (reject,) = record.rejects
    assert reject.detail.endswith(
        f"the mask of {annotation_name(root)}: " + (f"dog 1, tail {said}" if of == "part" else f"cat 2 {said}")
    )


def annotation_name(root):
    return annotation_of(root).relative_to(root).as_posix()


def test_text_with_a_label_and_a_number_is_no_id_twice(root):
    """The second eye may not take the id of a part that is called so."""
    labels = ("eye", "eye", "eye#2", "eye", "eye#3")
    masks = [box(4, 4, 20 - 2 * number, 20 - 2 * number) for number in range(5)]
    write_anno(annotation_of(root), [("dog", 12, DOG, list(zip(labels, masks, strict=True)))])
    dataset = open_dataset("pascal_part", str(root), "val")
    (dog,) = dataset.read(dataset.entries[0]).objects
    assert [part.part_id for part in dog.parts] == ["eye", "eye#4", "eye#2", "eye#5", "eye#3"]
    assert [part.parent_id for part in dog.parts] == [None, "eye", "eye#4", "eye#2", "eye#5"]
    (kept,) = select(dataset, Selection(classes=("dog",))).read(dataset.entries[0]).objects
    assert [part.part_id for part in kept.parts] == [part.part_id for part in dog.parts]


@pytest.mark.parametrize("number", [np.zeros((0, 0)), np.nan, np.ones((1, 2)), 21.0])
def test_number_of_a_class_that_is_none(root, number):
    things = structs([("zebra", number, DOG, [])], ("class", "class_ind", "mask", "parts"))
    savemat(annotation_of(root), {"anno": structs([("x", things)], ("imname", "objects"))})
    assert record_of(root).objects[0].category == "zebra"
