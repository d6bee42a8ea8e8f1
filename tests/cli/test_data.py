"""``agg data list``, ``inspect`` and ``check``: what they print, the page, exit codes, and bad input."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from agg_pipeline.datasets.generated import SPLITS
from agg_pipeline.datasets.registry import DATASETS
from schemas.words import plural
from tests.datasets.writers import (
    square,
    write_anno,
    write_class_names,
    write_mat_73,
    write_palette,
    write_photo,
    write_pixels,
)
from tests.e2e.commands import error_of, invoke

SHAPE = 24, 32
UNKNOWN = "(unknown)"
COLUMNS = ("images", "broken", "objects", "parts", "ignoring", "per image", "height", "width")


def box(*place):
    return square(SHAPE, *place)


def rows_of(stdout):
    """The tables of an output: first column -> the others, numbers as such; of a split all columns, 0 where none is."""
    found, head = {}, []
    for line in stdout.splitlines():
        if line.startswith("┃"):
            _, *head = (cell.strip() for cell in line.strip("┃").split("┃"))
        if line.startswith("│"):
            first, *others = (cell.strip() for cell in line.strip("│").split("│"))
            numbers = [int(cell) if cell.isdecimal() else cell or 0 for cell in others]
            of_split = dict(zip(head, numbers, strict=True))
            found[first] = [of_split.get(name, 0) for name in COLUMNS] if "images" in head else numbers
    return found


class Page(HTMLParser):
    """Everything that a page would load, the cells of its rows and lists, and how much it draws."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.rows, self.tags, self._open = [], [], Counter(), []
        self.feed(text)
        self.loads += re.findall(r"url\(([^)]*)\)", text) + re.findall(r"@import ([^;]*)", text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        names = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
        self.loads += [value for name, value in attributes if name in names]
        self._open.append(tag)
        if tag in ("tr", "li"):
            self.rows.append([])
        if self._in_cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data

    @property
    def _in_cell(self):
        return self._open[-2:] in (["tr", "th"], ["tr", "td"], ["li", "span"], ["li", "b"])

    @property
    def numbers(self):
        """First cell of each row -> the other cells."""
        return {row[0]: [cell.replace("\u2009", "") for cell in row[1:]] for row in self.rows if row}


def inspected(tmp_path, *arguments):
    """(rows on the terminal, the page) of ``agg data inspect``."""
    out = tmp_path / "page" / "data.html"
    result = invoke("data", "inspect", *arguments, "--out", out)
    assert result.code == 0, result
    assert result.stderr == ""
    page = Page(out.read_text(encoding="utf-8"))
    assert all(load.startswith(("data:image/", "#")) for load in page.loads), page.loads
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert f"{out} shows {plural(page.tags['svg'], 'image')}" in result.stdout
    return rows_of(result.stdout), page


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    for number in range(3):
        write_photo(root / "images" / f"{number}.jpg", *SHAPE, seed=number)
        write_palette(root / "masks" / f"{number}.png", box(1, 1, 5, 5) * 1 + box(10, 10, 5, 5 * number) * 16)
    return root


@pytest.fixture
def animals(tmp_path):
    root = tmp_path / "VOC2010"
    for image_id in ("1", "2"):
        write_photo(root / "JPEGImages" / f"{image_id}.jpg", *SHAPE)
        parts = [("head", box(1, 1, 10, 10)), ("leye", box(2, 2, 2, 2))]
        write_anno(root / "Annotations_Part" / f"{image_id}.mat", [("dog", 12, box(0, 0, 20, 20), parts)])
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, ids in (("train", "1\n"), ("val", "2\n")):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(ids)
    return root


def test_list_names_every_set_with_what_a_person_needs():
    result = invoke("data", "list")
    assert (result.code, result.stderr) == (0, "")
    blocks = {block.partition(":")[0]: block for block in re.split(r"\n(?=\S)", result.stdout)}
    assert set(blocks) == set(DATASETS)
    for name, block in blocks.items():
        words = " ".join(block.split())
        about = DATASETS[name].about
        for text in (about.title, about.licence, about.citation, about.homepage, about.download, *about.layout):
            assert " ".join(text.split()) in words


def test_inspect_counts_a_folder_of_ones_own(folder, tmp_path):
    rows, page = inspected(tmp_path, "folder", folder)
    # Image 0 has only id 1, the others 1 and 16.
    assert rows["all"] == [3, 0, 5, 0, 0, "1-2", "24-24", "32-32"]
    assert rows[UNKNOWN] == [5]
    assert page.numbers["all"][:5] == ["3", "0", "5", "0", "0"]
    assert page.numbers[UNKNOWN] == ["5"]
    assert (page.tags["svg"], page.tags["image"]) == (3, 3)


def test_inspect_shows_what_cannot_be_read(folder, tmp_path):
    (folder / "masks" / "1.png").unlink()
    rows, page = inspected(tmp_path, "folder", folder)
    assert rows["all"][:3] == [2, 1, 3]
    assert page.tags["svg"] == 2
    assert "masks has no mask for images/1.jpg" in (tmp_path / "page" / "data.html").read_text()


def test_names_from_files_cannot_break_the_page(tmp_path):
    root = tmp_path / "odd"
    name = '<img src="x">&'
    write_photo(root / "images" / "val" / "a.png", *SHAPE)
    write_pixels(root / "annotations" / "val" / "a.png", np.where(box(2, 2, 9, 9), 3, 40).astype(np.uint8))
    write_class_names(root, {3: name})
    rows, page = inspected(tmp_path, "partimagenet", root)
    assert rows["val"][:4] == [1, 0, 1, 1]
    assert page.tags["img"] == 0
    assert any(name in cell for row in page.rows for cell in row)


def test_inspect_is_the_same_for_the_same_seed(folder, tmp_path):
    pages = {}
    for seed in (0, 0, 1):
        inspected(tmp_path, "folder", folder, "--images", 1, "--seed", seed)
        text = (tmp_path / "page" / "data.html").read_text()
        assert pages.setdefault(seed, text) == text


def test_inspect_draws_no_image_if_none_is_wanted(folder, tmp_path):
    rows, page = inspected(tmp_path, "folder", folder, "--images", 0)
    assert rows["all"][0] == 3
    assert page.tags["svg"] == 0


def test_inspect_takes_classes_and_an_exclude_list(animals, tmp_path):
    rows, _ = inspected(tmp_path, "pascal_part", animals, "--class", "dog")
    assert (rows["train"][:4], rows["val"][:4]) == ([1, 0, 1, 2], [1, 0, 1, 2])
    assert (rows["dog"], rows["dog head"], rows["dog left eye"]) == ([1, 1], [1, 1], [1, 1])
    error = error_of(invoke("data", "inspect", "pascal_part", animals, "--skip-class", "dog"))
    assert error.startswith("pascal_part has no mask of the chosen classes there; its classes: aeroplane, ")
    listed = tmp_path / "train_sbd.txt"
    listed.write_text("1\n")
    error = error_of(invoke("data", "inspect", "pascal_part", animals, "--exclude-list", listed, "--split", "train"))
    assert error == f"{listed} leaves out every image of pascal_part train"


def test_inspect_tells_options_that_match_nothing(animals, tmp_path):
    out, listed = tmp_path / "page.html", tmp_path / "others.txt"
    listed.write_text("x\n")
    unmatched = ("--class", "dog", "--class", "cow", "--skip-class", "cat", "--exclude-list", listed)
    result = invoke("data", "inspect", "pascal_part", animals, *unmatched, "--out", out)
    assert result.code == 0
    assert result.stderr.splitlines() == [
        f"WARNING: {listed}: 1 of 1 listed image is not in pascal_part train: x",
        f"WARNING: {listed}: 1 of 1 listed image is not in pascal_part val: x",
        "note: --class cow matches no mask",
        "note: --skip-class cat matches no mask",
    ]


def test_inspect_takes_the_built_in_set_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(SPLITS, "val", (100_000, 3))
    rows, _ = inspected(tmp_path, "demo", "--split", "val", "--images", 1)
    assert rows["val"][:2] == [3, 0]


def test_real_grabcut_counts_are_those_of_its_files(shared, tmp_path):
    root = shared / "data" / "grabcut-mini"
    objects = ignoring = 0
    for path in (root / "boundary_GT").iterdir():
        with Image.open(path) as image:
            trimap = np.asarray(image.convert("L"))
        objects += bool((trimap > 128).any())
        ignoring += bool((trimap == 128).any())
    rows, page = inspected(tmp_path, "grabcut", root, "--images", 5)
    images = len(list((root / "data_GT").iterdir()))
    assert rows["all"][:5] == [images, 0, objects, 0, ignoring]
    assert page.numbers["all"][:5] == [str(number) for number in rows["all"][:5]]
    assert page.tags["svg"] == 5


def test_real_part_counts_are_those_of_their_files(shared, tmp_path):
    root = shared / "data" / "pascal-part-mini"
    truth = {}
    for split in ("train", "val"):
        objects, parts = Counter(), 0
        for image_id in (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            found = loadmat(root / "Annotations_Part" / f"{image_id}.mat", simplify_cells=True)["anno"]["objects"]
            for thing in [found] if isinstance(found, dict) else found:
                objects[thing["class"]] += 1
                parts += 1 if isinstance(thing["parts"], dict) else len(thing["parts"])
        truth[split] = objects, parts
    rows, page = inspected(tmp_path, "pascal_part", root, "--images", 2)
    for split, (objects, parts) in truth.items():
        count = len((root / "ImageSets" / "Main" / f"{split}.txt").read_text().split())
        assert rows[split][:5] == [count, 0, objects.total(), parts, 0]
        assert page.numbers[split][:5] == [str(number) for number in rows[split][:5]]
    for name in truth["val"][0]:
        expected = [truth[split][0][name] for split in ("train", "val")]
        assert rows[name] == expected
        assert page.numbers[name] == [str(number) for number in expected]
    assert page.tags["svg"] == 4


def test_real_parts_mini_counts_are_those_of_its_files(parts_mini, tmp_path):
    names = {
        item["id"]: item["name"].lower()
        for item in json.loads((parts_mini / "class_names.json").read_text())["categories"]
    }
    truth = Counter()
    for path in (parts_mini / "annotations" / "val").glob("*.png"):
        with Image.open(path) as image:
            truth.update(names[index] for index in np.unique(np.asarray(image)).tolist() if index != 40)
    rows, page = inspected(tmp_path, "partimagenet", parts_mini, "--split", "val", "--images", 2)
    assert rows["val"][:5] == [50, 0, 50, truth.total(), 0]
    assert {name: rows[name][0] for name in truth} == truth
    assert {name: page.numbers[name] for name in truth} == {name: [str(count)] for name, count in truth.items()}


def test_check_of_a_part_of_a_real_set_is_well(shared, tmp_path):
    root = shared / "data" / "sbd-mini"
    listed = tmp_path / "some.txt"
    listed.write_text("\n".join((root / "val.txt").read_text().split()[::4]))
    result = invoke("data", "check", "sbd", root, "--split", listed)
    assert result == (0, "29 images of sbd (some): all is as it should be\n", "")


@pytest.mark.parametrize(
    ("name", "sample", "said"),
    [
        ("pascal_part", "pascal-part-mini", "8 images of pascal_part (train, val)"),
        ("grabcut", "grabcut-mini", "51 images of grabcut (all)"),
    ],
)
def test_check_of_a_good_set_is_well(shared, name, sample, said):
    result = invoke("data", "check", name, shared / "data" / sample)
    assert result == (0, f"{said}: all is as it should be\n", "")


def test_check_of_a_bad_set_shows_the_findings_and_fails(folder):
    write_pixels(folder / "masks" / "1.png", np.zeros((5, 6), np.uint8))
    (folder / "masks" / "2.png").rename(folder / "masks" / "gone.png")
    result = invoke("data", "check", "folder", folder)
    assert result.code == 1
    assert result.stderr == ""
    assert "3 findings" in result.stdout
    assert rows_of(result.stdout) == {
        "images/1.jpg": ["size_mismatch: masks/1.png is 5x6, its image 24x32 (rows x columns)"],
        "images/2.jpg": ["unreadable_annotation: masks has no mask for images/2.jpg"],
        "folder": ["masks/gone.png belongs to no image in images"],
    }


def test_check_tells_a_stray_of_two_splits_once(animals):
    write_anno(animals / "Annotations_Part" / "99.mat", [])
    result = invoke("data", "check", "pascal_part", animals)
    assert result.code == 1
    assert result.stdout.count("Annotations_Part/99.mat belongs to no image in JPEGImages") == 1


def test_check_says_how_to_convert_a_file_of_matlab_73(animals):
    write_mat_73(animals / "Annotations_Part" / "2.mat")
    result = invoke("data", "check", "pascal_part", animals, "--split", "val")
    assert result.code == 1
    assert "Annotations_Part/2.mat is a file of MATLAB 7.3 (HDF5); convert it: " in result.stdout


def test_check_shows_the_whole_of_names_in_brackets(tmp_path):
    write_photo(tmp_path / "images" / "cat [red].jpg", *SHAPE)
    (tmp_path / "masks").mkdir()
    result = invoke("data", "check", "folder", tmp_path)
    assert result.code == 1
    assert "images/cat [red].jpg" in rows_of(result.stdout)


def test_file_names_in_brackets_are_kept_in_the_tables_of_inspect(tmp_path):
    root = tmp_path / "odd"
    write_photo(root / "images" / "val" / "a.png", *SHAPE)
    write_pixels(root / "annotations" / "val" / "a.png", np.where(box(2, 2, 9, 9), 3, 40).astype(np.uint8))
    write_class_names(root, {3: "car [red] body"})
    rows, _ = inspected(tmp_path, "partimagenet", root)
    assert rows["car [red] body"] == [1]


COMMANDS = ["inspect", "check"]


def failed(*arguments):
    """The one line of a command that cannot be meant."""
    result = invoke("data", *arguments)
    assert result.code == 2, result
    assert result.stdout == ""
    return error_of(result)


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_root_suggests_the_right_one(command, animals):
    expected = "expected JPEGImages, Annotations_Part, ImageSets/Main"
    assert failed(command, "pascal_part", animals.parent) == (
        f"{animals.parent} is not the root of pascal_part: {expected}, found VOC2010; {animals} would fit"
    )
    assert failed(command, "pascal_part", animals / "JPEGImages") == (
        f"{animals}/JPEGImages is not the root of pascal_part: {expected}, found 1.jpg, 2.jpg; {animals} would fit"
    )
    assert failed(command, "pascal_part", animals / "nowhere").endswith(
        "nowhere does not exist; name the root folder of pascal_part, which holds JPEGImages, Annotations_Part, "
        "ImageSets/Main (with make: DATA=folder)"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_root_that_is_not_given_is_asked_for_in_words_of_the_command(command):
    error = failed(command, "sbd")
    assert error.startswith("data set sbd needs its root folder")
    assert "--data" not in error, "this command has no such option"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["pascal_part", "folder"])
def test_unknown_split_lists_those_that_are_there(command, name, animals, folder):
    error = failed(command, name, {"pascal_part": animals, "folder": folder}[name], "--split", "test")
    assert ("; possible: train, val" if name == "pascal_part" else "; possible: all, or") in error


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_set_lists_the_sets(command, tmp_path):
    error = failed(command, "sbb", tmp_path)
    assert "'sbb'" in error
    assert all(name in error for name in DATASETS)


@pytest.mark.parametrize("option", ["--class", "--skip-class"])
def test_unknown_class_lists_the_classes(option, animals):
    error = failed("inspect", "pascal_part", animals, option, "spoon")
    assert error.startswith("pascal_part has no class 'spoon'; possible: aeroplane, ")


def test_class_that_matches_nothing_lists_the_classes(animals):
    error = failed("inspect", "pascal_part", animals, "--class", "sheep")
    assert error.startswith("pascal_part has no mask of the chosen classes there; its classes: aeroplane, ")


def test_hidden_lists_and_test_images_without_parts_are_no_splits(animals):
    lists = animals / "ImageSets" / "Main"
    (lists / "test.txt").write_text("9999\n")
    (lists / "._train.txt").write_bytes(b"\xff\xfe")
    result = invoke("data", "check", "pascal_part", animals)
    assert (result.code, result.stderr) == (0, "")
    assert "(train, val): all is as it should be" in result.stdout


def test_split_that_cannot_be_listed_is_a_finding_and_does_not_stop_the_others(animals, tmp_path):
    (animals / "ImageSets" / "Main" / "other.txt").write_text("\n")
    (animals / "ImageSets" / "Main" / "val.txt").write_text("1\n2\n")
    (animals / "Annotations_Part" / "2.mat").unlink()
    result = invoke("data", "check", "pascal_part", animals)
    assert result.code == 1
    assert "other.txt lists no image" in result.stdout
    assert "Annotations_Part/2.mat does not exist" in result.stdout
    result = invoke("data", "inspect", "pascal_part", animals, "--out", tmp_path / "page.html")
    assert result.code == 0
    assert result.stderr.startswith("left out: ")
    assert "other.txt lists no image" in result.stderr


def test_class_filter_of_a_set_without_classes_is_refused(folder):
    assert failed("inspect", "folder", folder, "--class", "dog") == "folder publishes no classes to choose from"


def test_list_files_that_do_not_exist_are_named(animals, tmp_path):
    gone = tmp_path / "gone.txt"
    assert f"{gone} does not exist" in failed("check", "pascal_part", animals, "--split", gone)
    assert f"{gone} does not exist" in failed("inspect", "pascal_part", animals, "--exclude-list", gone)


@pytest.mark.parametrize("out", ["", "/", "/mine/"])
def test_page_that_is_a_folder_is_refused(out, folder, tmp_path):
    result = invoke("data", "inspect", "folder", folder, "--out", f"{tmp_path}{out}")
    assert result.code == 2, result
    assert str(tmp_path) in error_of(result)
    assert ".tmp-" not in error_of(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_page_that_cannot_be_written_is_one_line(folder):
    result = invoke("data", "inspect", "folder", folder, "--out", folder / "images" / "0.jpg" / "data.html")
    assert result.code == 2
    assert "cannot write" in error_of(result)


HOSTILE = ("<svg onload=alert(1)>", "a\u202egnp.exe", "b\x1b[31mred\x07", "c\nd", "caf\udce9", "[bold]x")


@pytest.fixture
def hostile(tmp_path):
    """A folder set with names of files that want to be more than names."""
    root = tmp_path / "mine"
    for name in HOSTILE:
        write_photo(root / "images" / f"{name}.jpg", *SHAPE)
        write_palette(root / "masks" / f"{name}.png", box(1, 1, 5, 5) * 1)
    write_photo(root / "images" / "e\x1b]0;title\x07.jpg", *SHAPE)
    write_palette(root / "masks" / "f\x1b[2J.png", box(1, 1, 5, 5) * 1)
    return root


def is_plain(text):
    """Whether a text has nothing that a terminal or a browser would obey."""
    return all(char == "\n" or (char.isprintable() or char in "\u2009 ") for char in text)


def test_names_of_files_do_not_reach_the_terminal_as_they_are(hostile):
    result = invoke("data", "check", "folder", hostile)
    assert (result.code, result.stderr) == (1, "")
    assert is_plain(result.stdout)
    for shown in ("caf\\xe9.jpg", "b\\x1b[31mred\\x07.jpg", "c\\nd.jpg", "e\\x1b]0;title\\x07.jpg", "f\\x1b[2J.png"):
        assert shown in result.stdout
    # The other names are used.
    assert result.stdout.count("unreadable_image") == 4
    missing = invoke("data", "check", "folder", f"{hostile}/\x1b[31mred")
    assert is_plain(missing.stderr)
    assert "\\x1b[31mred does not exist" in missing.stderr


def test_names_of_files_do_not_reach_the_page_as_they_are(hostile, tmp_path):
    out = tmp_path / "page.html"
    result = invoke("data", "inspect", "folder", hostile, "--out", out)
    assert result.code == 0
    text = out.read_text(encoding="utf-8")
    assert is_plain(text)
    assert "<svg onload" not in text
    for shown in ("&lt;svg onload=alert(1)&gt;", "a\\u202egnp.exe", "caf\\xe9", "[bold]x"):
        assert shown in text


def hostile_coco(root):
    """A COCO set whose texts want to be more than texts."""
    (root / "annotations").mkdir(parents=True)
    bad = "\x1b[31mred\x07\x1b[2J\r\n\x85"
    turned = "\u202eliat\u200b"
    image = {"height": SHAPE[0], "width": SHAPE[1], "license": 1}
    segmentation = [[1, 1, 5, 1, 5, 5, 1, 5]]
    used = {"segmentation": segmentation, "image_id": turned, "category_id": 1}
    images = [{"id": turned, "file_name": f"{turned}.jpg"}, {"id": f"{turned}2", "file_name": f"./{turned}.jpg"}]
    images += [{"id": bad, "file_name": "a.jpg"}, {"id": 3, "file_name": bad}, {"id": 4, "file_name": f"../{turned}"}]
    names = [{"id": 1, "name": bad}, {"id": turned, "name": bad}, {"id": turned, "name": turned}]
    annotations = [used | {"id": 1}, used | {"id": 1}, used | {"id": 2, "image_id": bad}, used | {"id": bad}]
    annotations += [used | {"id": 3, "category_id": bad}, used | {"id": 4, "category_id": f"{turned}3"}]
    annotations += [used | {"id": 5, "image_id": f"{turned}3"}, used | {"id": 6, "segmentation": bad}]
    annotations += [used | {"id": 7, "segmentation": {"size": SHAPE, "counts": bad}}, used | {"id": 8, "iscrowd": bad}]
    truth = {"images": [image | each for each in images], "categories": names, "licenses": names}
    (root / "annotations/instances_val.json").write_text(json.dumps(truth | {"annotations": annotations}))
    write_photo(root / "images" / f"{turned}.jpg", *SHAPE)
    return root


def test_texts_of_coco_do_not_reach_the_terminal_or_the_page_as_they_are(tmp_path):
    root, out = hostile_coco(tmp_path / "coco"), tmp_path / "page.html"
    result = invoke("data", "check", "coco", root)
    assert result.code == 1
    assert is_plain(result.stdout)
    assert is_plain(result.stderr)
    assert result.stdout.startswith("15 findings")
    for shown in ("is the file of 2 images", "of\n", "expected str without", "occurs twice", "is not listed"):
        assert shown.strip() in result.stdout
    result = invoke("data", "inspect", "coco", root, "--out", out)
    assert result.code == 0
    assert "\\x1b[31mred\\x07\\x1b[2J\\r\\n\\x85" in result.stdout
    assert is_plain(result.stdout)
    assert is_plain(result.stderr)
    assert is_plain(out.read_text(encoding="utf-8"))
    result = invoke("data", "inspect", "coco", root, "--out", out, "--class", "dog")
    assert "coco has no class 'dog'; possible: \\x1b[31mred\\x07\\x1b[2J\\r\\n\\x85" in result.stderr
    assert is_plain(result.stderr)


def test_class_names_that_turn_the_text_round_or_break_the_page_stay_in_their_place(tmp_path):
    names = {1: "Dog \u200fHead", 2: "Dog \u202eliaT", 3: "<img src=x onerror=alert(1)>"}
    write_class_names(tmp_path, names)
    write_photo(tmp_path / "images" / "val" / "a.jpg", *SHAPE)
    labels = np.full(SHAPE, 40, np.uint8)
    labels[1:5, 1:5], labels[6:9, 1:5], labels[10:15, 1:5] = 1, 2, 3
    write_pixels(tmp_path / "annotations" / "val" / "a.png", labels)
    out = tmp_path / "page.html"
    result = invoke("data", "inspect", "partimagenet", tmp_path, "--out", out)
    assert result.code == 0
    assert is_plain(result.stdout)
    assert is_plain(out.read_text(encoding="utf-8"))
    assert "<img src=x" not in out.read_text(encoding="utf-8")
