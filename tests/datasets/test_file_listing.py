"""Finding files: roots, splits, list files, and files that belong together."""

import pytest

from agg_pipeline.datasets.file_listing import read_list, read_split, split_name
from agg_pipeline.datasets.image_stems import files_by_stem
from agg_pipeline.datasets.registry import DATASETS, known_dataset, open_dataset
from agg_pipeline.storage.store import Store
from schemas.errors import UserError

WITH_FILES = sorted(name for name, known in DATASETS.items() if not known.built_in)


def make(root, name):
    """The folders and files that a set's root must have, empty."""
    for path in DATASETS[name].about.layout:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if "." in path:
            (root / path).write_text("{}")
        else:
            (root / path).mkdir(exist_ok=True)
    return root


def said(name, root):
    with pytest.raises(UserError) as error:
        open_dataset(name, str(root), None)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", WITH_FILES)
def test_wrong_root_says_what_was_expected_and_found(tmp_path, name):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "notes.pdf").write_text("x")
    text = said(name, tmp_path)
    assert text.startswith(f"{tmp_path} is not the root of {name}: expected {', '.join(DATASETS[name].about.layout)}")
    assert text.endswith("found holiday, notes.pdf")


@pytest.mark.parametrize("name", WITH_FILES)
def test_root_one_folder_up_is_suggested(tmp_path, name):
    make(tmp_path, name)
    inner = tmp_path / "inner"
    inner.mkdir()
    assert said(name, inner).endswith(f"found nothing; {tmp_path} would fit")


@pytest.mark.parametrize("name", WITH_FILES)
def test_root_one_folder_down_is_suggested(tmp_path, name):
    (tmp_path / "a").mkdir()
    inner = make(tmp_path / "b", name)
    assert said(name, tmp_path).endswith(f"found a, b; {inner} would fit")


@pytest.mark.parametrize("name", WITH_FILES)
def test_root_that_does_not_exist_is_named(tmp_path, name):
    layout = ", ".join(DATASETS[name].about.layout)
    assert said(name, tmp_path / "nowhere") == (
        f"{tmp_path}/nowhere does not exist; name the root folder of {name}, which holds {layout} "
        "(with make: DATA=folder)"
    )


@pytest.mark.parametrize("name", WITH_FILES)
def test_root_that_is_a_file_is_refused(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(b"x")
    assert f"a.zip is a file; the root of {name} is a folder with" in said(name, tmp_path / "a.zip")


@pytest.mark.parametrize("name", WITH_FILES)
def test_missing_root_option_is_asked_for(name):
    asked = f"data set {name} needs its root folder; give it as --data FOLDER (with make: DATA=folder)"
    assert said(name, "") == asked


def test_long_list_of_found_names_is_cut_short(tmp_path):
    for number in range(20):
        (tmp_path / f"file_{number:02d}").touch()
    text = said("sbd", tmp_path)
    assert "file_07, ..." in text
    assert "file_08" not in text


def test_unknown_set_names_the_known_ones():
    with pytest.raises(UserError) as error:
        known_dataset("sbb")
    assert str(error.value) == f"unknown data set 'sbb'; did you mean 'sbd'? Possible: {', '.join(sorted(DATASETS))}"
    with pytest.raises(UserError) as error:
        known_dataset("nonsense")
    assert str(error.value) == f"unknown data set 'nonsense'; possible: {', '.join(sorted(DATASETS))}"


def test_all_sets_of_the_paper_are_known():
    assert set(WITH_FILES) == {
        *("berkeley", "coco", "davis", "folder", "grabcut", "partimagenet"),
        *("pascal_part", "pascal_voc", "sa1b", "sbd"),
    }


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_says_what_it_is(name):
    about = DATASETS[name].about
    assert about.name == name
    assert all((about.title, about.licence, about.citation, about.homepage, about.download))
    assert set(about.levels) <= {"object", "part"}


def store_of(tmp_path, content, encoding="utf-8"):
    (tmp_path / "val.txt").write_bytes(content.encode(encoding))
    return Store(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    ["b\na\n", "\ufeffb\na\n", "b\r\na\r\n", "  b  \n\n\n a", "b\ra"],
    ids=["plain", "byte order mark", "Windows", "spaces", "old Mac"],
)
def test_list_file_gives_sorted_ids(tmp_path, content):
    store = store_of(tmp_path, content)
    assert read_split(store, "val") == ["a", "b"]
    assert read_list(str(tmp_path / "val.txt")) == ["a", "b"]


def test_ids_keep_their_spaces_and_marks_unless_they_are_flagged(tmp_path):
    store = store_of(tmp_path, "my dog 1\nmy dog -1\n")
    assert read_split(store, "val") == ["my dog -1", "my dog 1"]
    store = store_of(tmp_path, "a  1\nb -1\nc  0\nd\n")
    assert read_split(store, "val", flags=True) == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("content", "said"),
    [("a\nb\n a \n", "lists a more than once"), ("", "lists no image"), ("\ufeff \n", "lists no image")],
)
def test_broken_list_is_refused(tmp_path, content, said):
    with pytest.raises(UserError, match=rf"val\.txt {said}"):
        read_split(store_of(tmp_path, content), "val")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_list_may_be_utf_16_with_its_mark(tmp_path, encoding, end):
    # As PowerShell writes it.
    mark = "" if encoding == "utf-16" else "\ufeff"
    store = store_of(tmp_path, f"{mark}b{end}caf\u00e9{end}", encoding)
    assert read_split(store, "val") == ["b", "caf\u00e9"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\nb\n".encode("utf-16-le"), "is not a text file in UTF-8; it lists one image id per line"),
        ("caf\u00e9\n\u00fc\n".encode("latin-1"), "is not a text file in UTF-8; it lists one image id per line"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not a text file in UTF-8; it lists one image id per line"),
        (b"\xff\xfe\xfa\n\0", "is not a text file; it lists one image id per line"),
        (b"a -1\n b -1\n", r"lists no image: every line ends with -1"),
    ],
    ids=["UTF-16 without its mark", "Latin-1", "picture", "half a character", "flags"],
)
def test_list_that_is_not_text_is_refused(tmp_path, content, said):
    (tmp_path / "val.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"val\.txt {said}$"):
        read_split(Store(str(tmp_path)), "val", flags=True)


def test_only_ends_of_lines_end_an_id(tmp_path):
    assert read_split(store_of(tmp_path, "a\u2028b\nc\u00a0d\ne\x1cf\n g\n"), "val") == [
        "a\u2028b",
        "c\u00a0d",
        "e\x1cf",
        "g",
    ]


def test_list_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.txt does not exist; it lists one image id per line"):
        read_list(str(tmp_path / "nowhere.txt"))


def test_list_file_may_be_in_the_working_directory(tmp_path, monkeypatch):
    store_of(tmp_path, "a\n")
    monkeypatch.chdir(tmp_path)
    assert read_list("val.txt") == ["a"]


def test_list_of_many_images_is_read_at_once(tmp_path):
    ids = [f"{number:06d}" for number in range(20_000)]
    store = store_of(tmp_path, "\n".join([*ids, ids[-1]]))
    with pytest.raises(UserError, match="lists 019999 more than once"):
        read_split(store, "val")


@pytest.mark.parametrize(
    ("split", "name"),
    [("val", "val"), ("lists/mine.txt", "mine"), ("/data/lists/mine.v2.txt", "mine.v2"), ("a/mine.json", "mine")],
)
def test_split_name_holds_no_path(split, name):
    assert split_name(split) == name


def test_files_are_found_by_stem_without_folders_and_hidden_files(tmp_path):
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.jpg", "a.b.png", "c", ".hidden.jpg"):
        (folder / name).write_bytes(b"12")
    assert files_by_stem(Store(str(tmp_path)), "images") == {
        "a.b": ("images/a.b.png", 2),
        "b": ("images/b.jpg", 2),
        "c": ("images/c", 2),
    }
    assert files_by_stem(Store(str(tmp_path)), "nowhere") == {}


def test_listed_images_that_are_missing_are_counted(tmp_path):
    root = make(tmp_path / "root", "folder")
    for stem in ("a", "b"):
        (root / "images" / f"{stem}.jpg").write_bytes(b"x")
    listed = tmp_path / "mine.txt"
    listed.write_text("a\n")
    assert [entry.image_id for entry in open_dataset("folder", str(root), str(listed)).entries] == ["a"]
    listed.write_text("a\nx\n")
    with pytest.raises(UserError) as error:
        open_dataset("folder", str(root), str(listed))
    assert str(error.value) == f"{listed} lists x, which is not in {root}/images"
    listed.write_text("a\nx\ny\nz\n")
    with pytest.raises(UserError, match=r"lists x, which is not in .*images \(nor are 2 others\)$"):
        open_dataset("folder", str(root), str(listed))
