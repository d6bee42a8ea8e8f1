"""Parts of a data set: without listed images, or with some classes alone."""

import pickle
from dataclasses import replace

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.datasets.selection import Selection, select, unmatched_classes
from schemas.errors import UserError
from tests.datasets.writers import square, write_anno, write_class_names, write_palette, write_photo, write_pixels

SHAPE = 30, 40


def box(*place):
    return square(SHAPE, *place)


@pytest.fixture
def animals(tmp_path):
    """PASCAL-Part: a dog and a boat in each of three images."""
    dog = [("head", box(1, 1, 20, 20)), ("muzzle", box(2, 2, 10, 10)), ("nose", box(3, 3, 4, 4))]
    for image_id in ("1", "2", "3"):
        write_photo(tmp_path / "JPEGImages" / f"{image_id}.jpg", *SHAPE)
        objects = [("dog", 12, box(0, 0, 28, 24), dog), ("boat", 4, box(5, 28, 9, 9), [])]
        write_anno(tmp_path / "Annotations_Part" / f"{image_id}.mat", objects)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("1\n2\n3\n")
    return open_dataset("pascal_part", str(tmp_path), "val")


@pytest.fixture
def parts(tmp_path):
    """PartImageNet: one image with classes 0, 1 and 3."""
    labels = box(1, 1, 5, 5) * 1 + box(10, 10, 5, 5) * 3
    labels[~(labels > 0)] = 40
    labels[20:25, 20:25] = 0
    write_photo(tmp_path / "images" / "val" / "a.jpg", *SHAPE)
    write_pixels(tmp_path / "annotations" / "val" / "a.png", labels.astype("uint8"))
    write_class_names(tmp_path, {0: "Car Body", 1: "Car Tire", 2: "Dog Head", 3: "Car Window"})
    return open_dataset("partimagenet", str(tmp_path), "val")


def found(dataset, number=0):
    record = dataset.read(dataset.entries[number])
    return {instance.category: [part.label for part in instance.parts] for instance in record.objects}


def test_nothing_selected_is_the_set_itself(animals):
    assert select(animals, Selection()) is animals


def test_images_of_an_exclude_list_are_left_out(animals, tmp_path):
    listed = tmp_path / "train.txt"
    listed.write_text("\ufeff2\nunknown\n")
    chosen = select(animals, Selection(exclude_list=str(listed)))
    assert [entry.image_id for entry in chosen.entries] == ["1", "3"]
    assert found(chosen) == found(animals)


def test_exclude_list_that_matches_nothing_is_told(animals, tmp_path, caplog):
    listed = tmp_path / "train.txt"
    listed.write_text("x\ny\n")
    assert len(select(animals, Selection(exclude_list=str(listed))).entries) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{listed}: 2 of 2 listed images are not in pascal_part val: x, y"
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("1\n2\n", None),
        ("x\n1\n", "1 of 2 listed images is not in pascal_part val: x"),
        (
            "1\ne\nd\nc\nb\na\x1b\n",
            "5 of 6 listed images are not in pascal_part val: a\\x1b, b, c and 2 others",
        ),
    ],
)
def test_lines_of_an_exclude_list_that_match_nothing_are_named(animals, tmp_path, caplog, lines, said):
    listed = tmp_path / "train.txt"
    listed.write_text(lines)
    chosen = select(animals, Selection(exclude_list=str(listed)))
    assert [entry.image_id for entry in chosen.entries] == (["2", "3"] if said else ["3"])
    assert [record.getMessage() for record in caplog.records] == ([f"{listed}: {said}"] if said else [])


def test_exclude_list_finds_names_that_are_written_in_another_way(animals, tmp_path):
    listed = tmp_path / "train.txt"
    listed.write_bytes("caf\u00e9\n".encode() + b"a\xff\n1\n")
    entries = [replace(animals.entries[0], image_id=name) for name in ("1", "a\\xff", "cafe\u0301", "cafe")]
    chosen = select(replace(animals, entries=tuple(entries)), Selection(exclude_list=str(listed)))
    assert [entry.image_id for entry in chosen.entries] == ["cafe"]


def test_exclude_list_that_leaves_no_image_is_refused(animals, tmp_path):
    listed = tmp_path / "train.txt"
    listed.write_text("1\n2\n3\n")
    with pytest.raises(UserError, match=r"train\.txt leaves out every image of pascal_part val"):
        select(animals, Selection(exclude_list=str(listed)))
    with pytest.raises(UserError, match=r"gone\.txt does not exist"):
        select(animals, Selection(exclude_list=str(tmp_path / "gone.txt")))


@pytest.mark.parametrize("name", ["dog", "Dog", "11"])
def test_class_is_chosen_by_its_name_or_number(animals, name):
    chosen = select(animals, Selection(classes=(name,)))
    assert found(chosen) == {"dog": ["head", "muzzle", "nose"]}
    assert chosen.entries == animals.entries


def test_several_classes_are_chosen(animals):
    assert set(found(select(animals, Selection(classes=("dog", "boat"))))) == {"dog", "boat"}


def test_class_is_skipped(animals):
    assert set(found(select(animals, Selection(skip_classes=("dog",))))) == {"boat"}
    assert found(select(animals, Selection(classes=("dog",), skip_classes=("dog",)))) == {}


def test_class_that_is_not_in_an_image_leaves_it_without_objects(animals):
    assert found(select(animals, Selection(classes=("sheep",)))) == {}


@pytest.mark.parametrize("field", ["classes", "skip_classes"])
@pytest.mark.parametrize("name", ["spoon", "20", "-1", "", "\u0661", "1" * 150])
def test_unknown_class_lists_the_classes(animals, field, name):
    with pytest.raises(UserError) as error:
        select(animals, Selection(**{field: (name,)}))
    assert str(error.value).startswith(f"pascal_part has no class {name!r}; possible: aeroplane, bicycle, ")
    assert str(error.value).endswith("train, tvmonitor")


def test_class_number_of_thousands_of_digits_is_no_class(animals):
    with pytest.raises(UserError, match=r"^pascal_part has no class '9{199}\.\.\.; possible: aeroplane, "):
        select(animals, Selection(classes=("9" * 5000,)))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("1", "1"),
        ("0", "2"),
        ("2", "2"),
        ("3", "dog"),
        ("Dog", "Dog"),
        ("dog", "dog"),
        ("CAT", "cat"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_exact_name_before_number_before_other_letters(animals, given, chosen):
    named = replace(animals, classes=("2", "1", "Dog", "dog", "cat", "caf\u00e9"))
    assert select(named, Selection(classes=(given,))).selection["classes"] == [chosen]


def test_name_of_several_classes_is_refused(animals):
    named = replace(animals, classes=("Dog", "cat", "dog"))
    with pytest.raises(UserError) as error:
        select(named, Selection(skip_classes=("DOG",)))
    assert str(error.value) == (
        "class 'DOG' may be any of these of pascal_part: 'Dog', 'dog'; give the name with its capital letters"
    )


def test_a_class_that_was_probably_meant_is_named(animals):
    with pytest.raises(UserError, match=r"has no class 'aeroplan'; did you mean 'aeroplane'\? Possible: aero"):
        select(animals, Selection(classes=("aeroplan",)))


def test_part_classes_are_chosen_in_a_set_of_parts(parts):
    assert found(select(parts, Selection(classes=("Car Tire",)))) == {"Car": ["Car Tire"]}
    assert found(select(parts, Selection(classes=("0", "car window")))) == {"Car": ["Car Body", "Car Window"]}
    assert found(select(parts, Selection(classes=("Dog Head",)))) == {}


def test_class_zero_is_skipped_as_the_release_does(parts):
    assert found(select(parts, Selection(skip_classes=("0",)))) == {"Car": ["Car Tire", "Car Window"]}


def test_object_whose_parts_are_all_skipped_falls_out(parts):
    assert found(select(parts, Selection(skip_classes=("0", "1", "3")))) == {}


def test_set_without_classes_cannot_be_filtered(tmp_path):
    write_photo(tmp_path / "images" / "a.jpg", *SHAPE)
    write_palette(tmp_path / "masks" / "a.png", box(1, 1, 5, 5))
    with pytest.raises(UserError, match="folder publishes no classes to choose from"):
        select(open_dataset("folder", str(tmp_path), None), Selection(classes=("dog",)))


def test_every_selection_has_a_fingerprint_of_its_own(animals, tmp_path):
    listed = tmp_path / "train.txt"
    listed.write_text("2\n")
    selections = [
        Selection(),
        Selection(classes=("dog",)),
        Selection(classes=("boat",)),
        Selection(skip_classes=("dog",)),
        Selection(skip_classes=("boat",)),
        Selection(exclude_list=str(listed)),
        Selection(exclude_list=str(listed), classes=("dog",)),
    ]
    prints = [select(animals, each).fingerprint for each in selections]
    assert len(set(prints)) == len(prints)
    same = select(animals, Selection(classes=("11", "DOG"))).fingerprint
    assert same == prints[1]


def test_selected_reader_can_be_sent_to_another_process(animals):
    chosen = select(animals, Selection(classes=("boat",)))
    read = pickle.loads(pickle.dumps(chosen.read))  # noqa: S301
    assert [instance.category for instance in read(chosen.entries[0]).objects] == ["boat"]


def test_part_moves_to_the_next_one_around_if_its_own_is_gone(animals):
    before = {part.label: part.parent_id for part in animals.read(animals.entries[0]).objects[0].parts}
    assert before == {"head": None, "muzzle": "head", "nose": "muzzle"}
    for skipped, expected in (
        (("muzzle",), {"head": None, "nose": "head"}),
        (("head",), {"muzzle": None, "nose": "muzzle"}),
        (("head", "muzzle"), {"nose": None}),
    ):
        dataset = select(with_part_classes(animals), Selection(skip_classes=skipped))
        dog = next(instance for instance in dataset.read(dataset.entries[0]).objects if instance.category == "dog")
        assert {part.label: part.parent_id for part in dog.parts} == expected


def with_part_classes(dataset):
    """The set as if it published the names of its nested parts as classes."""
    return replace(dataset, classes=("head", "muzzle", "nose"))


@pytest.mark.parametrize(
    ("classes", "skipped", "unmatched"),
    [
        ((), (), []),
        (("dog",), (), []),
        (("dog", "cat"), (), ["--class cat matches no mask of pascal_part val"]),
        ((), ("boat",), []),
        ((), ("boat", "cow"), ["--skip-class cow matches no mask of pascal_part val"]),
        (("dog", "boat"), ("boat",), []),
        (
            ("dog", "cat"),
            ("cow",),
            ["--class cat matches no mask of pascal_part val", "--skip-class cow matches no mask of pascal_part val"],
        ),
    ],
)
def test_chosen_classes_that_match_no_mask_are_named(animals, classes, skipped, unmatched):
    assert unmatched_classes(select(animals, Selection(classes=classes, skip_classes=skipped))) == unmatched


def test_classes_of_parts_match_too(parts):
    chosen = select(parts, Selection(classes=("Car Body", "Dog Head"), skip_classes=("Car Tire",)))
    assert unmatched_classes(chosen) == ["--class Dog Head matches no mask of partimagenet val"]


def test_classes_are_looked_for_where_the_run_looks(animals, tmp_path):
    """The first image cannot be read, and the others have a cat."""
    (tmp_path / "Annotations_Part" / "1.mat").write_bytes(b"no MATLAB file")
    for image_id in "23":
        write_anno(tmp_path / "Annotations_Part" / f"{image_id}.mat", [("cat", 8, box(0, 0, 28, 24), [])])
    chosen = select(animals, Selection(classes=("cat",)))
    assert unmatched_classes(chosen) == unmatched_classes(chosen, 2) == unmatched_classes(chosen, 99) == []
    assert unmatched_classes(chosen, 1) == ["--class cat matches no mask of the 1 image of this run"]


def test_no_image_is_read_after_the_last_class_is_found(animals, tmp_path):
    read = tmp_path / "read"

    def counting(entry, reader=animals.reader):
        with read.open("a") as file:
            file.write(entry.image_id)
        return reader(entry)

    counted = replace(animals, reader=counting)
    assert unmatched_classes(select(counted, Selection(classes=("dog",), skip_classes=("boat",)))) == []
    assert read.read_text() == "1"
    assert unmatched_classes(counted) == []
    assert read.read_text() == "1"
