"""The logs of a training, and what else it writes: damage and full disks are one line."""

import os
import shutil
from pathlib import Path

import pytest

from agg_pipeline.training.tensorboard_file import TensorBoardFile
from agg_pipeline.training.training_folder import TrainingOptions, check_folder, claim_folder
from agg_pipeline.training.training_log import STEP_COLUMNS, append, forget_after, read_log
from agg_pipeline.training.training_page import write_page
from agg_pipeline.training.validation_pictures import delete_pictures_after, pictures
from schemas.errors import StorageError, UserError

ROW = (1, 1, "0.5", "0.001", "4", "0.1")
HEAD = ",".join(STEP_COLUMNS)


def test_rows_are_added_below_one_head(tmp_path):
    path = tmp_path / "steps.csv"
    path.touch()  # as after a power failure
    for step in (1, 2):
        append(path, (step, *ROW[1:]))
    assert path.read_bytes() == f"{HEAD}\r\n1,1,0.5,0.001,4,0.1\r\n2,1,0.5,0.001,4,0.1\r\n".encode()
    assert [row["step"] for row in read_log(path)] == ["1", "2"]


def test_rows_that_were_not_written_to_their_end_are_left_out(tmp_path):
    path = tmp_path / "steps.csv"
    rows = ["1,1,0.5,0.001,4,0.1", "2,1,0.5,0.001,4", "3,1,x,0.001,4,0.1", "4,1,nan,1,4,1", "-5,1,1,1,4,1"]
    path.write_text("\n".join([HEAD, *rows, "9" * 5000 + ",1,1,1,1,1", ",,,", "6,1,1,1,1,1,1", "7,1,0.5,0.001,4,0."]))
    assert [row["step"] for row in read_log(path)] == ["1", "7"]
    forget_after(tmp_path, 6)
    assert path.read_text() == f"{HEAD}\n1,1,0.5,0.001,4,0.1\n"
    assert read_log(tmp_path / "validation.csv") == []


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0junk\n,,,\n", b"a,b\n1,2\n", b'"' + b"a" * 200_000, HEAD[:-3].encode()]
)
def test_what_is_no_log_is_one_line(tmp_path, content):
    path = tmp_path / "steps.csv"
    path.write_bytes(content)
    for read in (lambda: read_log(path), lambda: forget_after(tmp_path, 3), lambda: write_page(tmp_path, {})):
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value) == f"{path} is damaged; delete it to resume without its earlier rows"
    assert path.read_bytes() == content


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    missing = tmp_path / "gone"
    with pytest.raises(StorageError, match=r"cannot write .*gone/steps\.csv: No such file or directory"):
        append(missing / "steps.csv", ROW)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file/tensorboard: .*/file is a file, not a folder"):
        TensorBoardFile(tmp_path / "file" / "tensorboard", 1)


def test_the_events_of_a_run_are_read_back(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    file = TensorBoardFile(tmp_path / "tensorboard", 5)
    file.add(5, {"loss": 0.25, "lr": 0.5})
    file.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    assert [event.step for event in events] == [0, 5, 5, 5, 5]
    assert [value.simple_value for event in events for value in event.summary.value] == [0.25, 0.5]
    assert events[2].session_log.status == 1


def test_a_full_disk_stops_the_tensorboard_file_at_once(tmp_path, monkeypatch):
    file = TensorBoardFile(tmp_path, 1)

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file._events, "flush", fail)
    monkeypatch.setattr(file._events, "close", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        file.add(1, {"loss": 1.0})
    with pytest.raises(StorageError, match="No space left on device"):
        file.close()


def test_pictures_of_others_are_left_alone(tmp_path):
    for name in ("step-0000040.png", "step-0000080.png", "step-x.png", "step-.png"):
        (tmp_path / name).write_bytes(b"")
    assert list(pictures(tmp_path)) == [40, 80]
    delete_pictures_after(tmp_path, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-.png", "step-0000040.png", "step-x.png"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"[1]",
        b"{}",
        b'{"config": 1}',
        b'{"config": {"training": []}}',
        b'{"config": {"training": {"device": 1}}}',
        b'{"config": {"training": {"device": "cpu"}, "epochs": NaN}}',
        b'{"config": {"training": {"device": "\\ud800"}}}',
    ],
)
def test_a_damaged_plan_is_one_line(tmp_path, config, content):
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(UserError) as error:
        check_folder(TrainingOptions(tmp_path, resume=True), config)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'training.json'} is damaged (")
    assert text.endswith("; use --overwrite to start afresh")
    assert text.isprintable()


def test_a_plan_that_is_no_file_is_one_line(tmp_path, config):
    os.mkfifo(tmp_path / "training.json")
    with pytest.raises(UserError, match="is a pipe"):
        check_folder(TrainingOptions(tmp_path, resume=True), config)


def test_names_in_a_plan_are_printable(tmp_path, config):
    claim_folder(TrainingOptions(tmp_path), config, {})
    plan = (tmp_path / "training.json").read_text()
    (tmp_path / "training.json").write_text(plan.replace('"epochs"', '"\\u001b]0;owned"'))
    with pytest.raises(UserError, match="another configuration") as error:
        check_folder(TrainingOptions(tmp_path, resume=True), config)
    assert str(error.value).isprintable()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, config):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/out: .*/file is a file, not a folder"):
        claim_folder(TrainingOptions(tmp_path / "file" / "out"), config, {})


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, config, monkeypatch):
    def fail(_path, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(StorageError) as error:
        check_folder(TrainingOptions(tmp_path), config)
    assert str(error.value) == f"cannot read {tmp_path}: Permission denied"


def test_the_page_is_written_as_a_whole(tmp_path):
    shutil.rmtree(tmp_path)
    with pytest.raises(StorageError, match=r"cannot write .*training\.html: No such file or directory"):
        write_page(tmp_path, {"data": "", "how": "", "config": {}})
