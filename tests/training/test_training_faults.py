"""What a training needs is removed while it runs: it continues, or ends with one line that names the true cause."""

import os
import shutil

import pytest

from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.storage.recent import Recent
from agg_pipeline.training.finetune import FinetuneInputs, prepare
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.training_folder import TrainingOptions
from agg_pipeline.training.training_log import read_log
from agg_pipeline.training.training_monitor import Monitor
from schemas.config import PredictorConfig
from schemas.errors import StorageError, UserError


class Accident:
    """Logs the steps, and does something to a folder after the third one."""

    def __init__(self, folder, happen):
        self.monitor = Monitor(folder, (), PredictorConfig(), 60.0)
        self.folder = folder
        self.happen = happen

    def __call__(self, done, network):
        self.monitor(done, network)
        if done.step == 3:
            self.happen(self.folder)

    def validate(self, step, network):
        pass

    def close(self):
        self.monitor.close()


def make_folder(name):
    """Put a folder that is not empty in the place of a file."""

    def happen(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name / "full").mkdir(parents=True)

    return happen


def make_pipe(folder):
    (folder / "steps.csv").unlink()
    os.mkfifo(folder / "steps.csv")


def make_link(folder):
    """A link to a file of somebody else."""
    (folder / "steps.csv").unlink()
    (folder / "other").write_text("precious\n")
    (folder / "steps.csv").symlink_to(folder / "other")


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (make_pipe, "steps.csv: a device or a pipe lies there"),
        (make_link, "steps.csv: a link lies there"),
        (shutil.rmtree, "checkpoint.pt: No such file or directory"),
        (make_folder("steps.csv"), "steps.csv: Is a directory"),
        (make_folder("checkpoint.pt"), "checkpoint.pt: Is a directory"),
        (make_folder("adapter.safetensors"), "adapter.safetensors: Is a directory"),
        (make_folder("training.html"), "training.html: Is a directory"),
    ],
    ids=["pipe", "link", "folder", "steps", "checkpoint", "adapter", "page"],
)
def test_what_cannot_be_written_is_one_line(prepared, tmp_path, happen, said):
    made = prepared("out", checkpoint_minutes=0.0)
    watch = Accident(tmp_path / "out", happen)
    with pytest.raises(StorageError) as error:
        train_and_save(made, watch)
    watch.close()
    assert str(error.value) == f"cannot write {tmp_path / 'out'}/{said}"
    if happen is make_link:
        assert (tmp_path / "out/other").read_text() == "precious\n"


def test_a_training_without_its_logs_continues(prepared, tmp_path):
    def happen(folder):
        (folder / "steps.csv").unlink()
        shutil.rmtree(folder / "tensorboard")

    _, path = train_and_save(prepared("out"), watch := Accident(tmp_path / "out", happen))
    watch.close()
    _, expected = train_and_save(prepared("whole"), watch := Accident(tmp_path / "whole", lambda _folder: None))
    watch.close()
    assert path.read_bytes() == expected.read_bytes()
    assert [row["step"] for row in read_log(tmp_path / "out" / "steps.csv")] == ["4", "5", "6"]


@pytest.fixture
def copied(proposals, data, config, tmp_path):
    """A training on copies of database and images, which keeps nothing that it read in memory."""
    shutil.copytree(proposals, tmp_path / "db")
    shutil.copytree(data, tmp_path / "data")
    inputs = FinetuneInputs((str(tmp_path / "db"),), {"": str(tmp_path / "data")}, str(default_checkpoint()))
    made = prepare(config, inputs, TrainingOptions(tmp_path / "out", validation_masks=0))
    masks = made.training.samples.masks
    masks._shards, masks._pixels = Recent(1, lambda _shard: 2), Recent(1, lambda _pixels: 2)
    return made


@pytest.mark.parametrize(
    ("name", "said"), [("db", "database/proposals/part-0000"), ("data", "data/images/im_")], ids=["database", "images"]
)
def test_input_that_is_removed_is_one_line(copied, tmp_path, name, said):
    watch = Accident(tmp_path / "out", lambda _folder: shutil.rmtree(tmp_path / name))
    with pytest.raises(UserError) as error:
        train_and_save(copied, watch)
    watch.close()
    assert said in str(error.value)
    assert str(error.value).isprintable()


def test_a_database_that_is_replaced_is_one_line(copied, tmp_path):
    def happen(_folder):
        files = sorted((tmp_path / "db" / "database" / "proposals").iterdir())
        for file, other in zip(files, files[1:] + files[:1], strict=True):
            shutil.copy(file, tmp_path / f"{other.name}")
        for file in files:
            shutil.copy(tmp_path / file.name, file)

    watch = Accident(tmp_path / "out", happen)
    with pytest.raises(UserError, match="was replaced while the training read it"):
        train_and_save(copied, watch)
    watch.close()
