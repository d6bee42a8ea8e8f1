"""Where exports go."""

import pytest

from agg_pipeline.database.exchange.new_files import Stems, new_file, new_folder
from schemas.errors import UserError


def test_names_stay_in_their_folder_and_apart():
    stems = Stems()
    given = [
        ("a", "img/a.jpg"),
        ("b", "other/a.jpg"),
        ("../x", "../../etc/passwd"),
        ("n\nl", "x\ny.jpg"),
        ("d", ".png"),
    ]
    names = [stems.of(*each) for each in given]
    assert names[0] == "a"
    assert names[2] == "passwd"
    assert all(name.replace("-", "").replace("_", "").isalnum() for name in names)
    assert len({name.lower() for name in names}) == len(names)
    assert stems.of("e", "A.jpg").startswith("A-"), "file systems exist that don't tell A from a"


def test_nothing_is_left_of_a_folder_that_failed(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_has_a_name_like_a_temporary_one_stays(tmp_path):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "mine").write_text("mine")
    (tmp_path / ".file.tmp").write_text("mine")
    with new_folder(tmp_path / "out"), new_file(tmp_path / "file"):
        pass
    assert (tmp_path / ".out.part" / "mine").read_text() == (tmp_path / ".file.tmp").read_text() == "mine"


def test_of_two_exports_to_one_place_the_first_one_stays(tmp_path):
    with pytest.raises(UserError, match="is there already"), new_folder(tmp_path / "out") as late:
        (late / "x").write_text("late")
        with new_folder(tmp_path / "out") as early:
            (early / "x").write_text("early")
    with pytest.raises(UserError, match="is there already"), new_file(tmp_path / "file") as late:
        late.write(b"late")
        with new_file(tmp_path / "file") as early:
            early.write(b"early")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "file"}
    assert (tmp_path / "out/x").read_text() == (tmp_path / "file").read_text() == "early"


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "y").write_text("y")
    assert (tmp_path / "empty" / "y").read_text() == "y"
    for kind, path in ((new_folder, tmp_path / "full"), (new_file, tmp_path / "full" / "x")):
        with pytest.raises(UserError, match="is there already"), kind(path):
            pass
    assert (tmp_path / "full" / "x").read_text() == "mine"
