"""Reading and checking the images of a database, and the budget of decoded images of all processes."""

import shutil
import threading
from functools import partial

import pytest
from PIL import Image

from agg_pipeline.database.reader import open_proposals
from agg_pipeline.datasets.registry import DATASETS, root_of
from agg_pipeline.training.mask_rows import choose_rows
from agg_pipeline.training.pretrain import PretrainInputs, prepare
from agg_pipeline.training.training_folder import TrainingOptions
from agg_pipeline.training.training_images import (
    CHUNK,
    IMAGE_CACHE_BYTES,
    ImageReader,
    UsedImage,
    cache_share,
    check_images,
    image_reader,
    read_pixels,
)
from schemas.errors import UserError
from schemas.resolve import override
from schemas.training import PretrainConfig, TrainingConfig


@pytest.mark.parametrize(
    ("devices", "loaders", "processes"), [(1, 0, 1), (1, 1, 1), (1, 4, 4), (2, 0, 2), (2, 1, 2), (8, 4, 32)]
)
def test_processes_share_one_budget(devices, loaders, processes):
    share = cache_share(TrainingConfig(devices=devices, loaders=loaders))
    assert share == IMAGE_CACHE_BYTES // processes
    assert share * processes <= IMAGE_CACHE_BYTES


def test_both_trainings_keep_their_share(prepared, tmp_path):
    settings = {"training": {"loaders": 4, "devices": 2, "batch": 2}}
    assert prepared(changes=settings).training.samples.masks.cache_bytes == IMAGE_CACHE_BYTES // 8
    config = override(PretrainConfig(), {"augment": {"size": 32}, **settings})
    inputs = PretrainInputs((("demo", "2", ""),))
    made = prepare(config, inputs, TrainingOptions(tmp_path / "pretrained", validation_masks=0))
    assert made.training.samples.mixture.cache_bytes == IMAGE_CACHE_BYTES // 8


@pytest.fixture
def images(proposals):
    return choose_rows([open_proposals(str(proposals))], "agg", "both").images


def test_changed_and_missing_images_are_named(images, data, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    for number in (0, 1, 2):
        Image.new("RGB", (160, 120)).save(root / "images" / f"im_{number}.png")
    (root / "images" / "im_3.png").unlink()
    changed = image_reader("folder", str(root))
    with pytest.raises(UserError) as error:
        check_images(images, {"folder": changed})
    message = str(error.value)
    assert message.startswith("images are missing or differ from those that the masks were made for (4 of 5): ")
    assert all(f"im_{number}.png" in message for number in (0, 1, 2))
    assert "and 1 more" in message
    with pytest.raises(UserError, match="is not the one that its masks were made for"):
        read_pixels(images[0], changed)
    with pytest.raises(UserError, match=r"im_3\.png was there when its folder was listed, and is not there now"):
        read_pixels(images[3], changed)
    intact = image_reader("folder", str(data))
    check_images(images, {"folder": intact})
    assert read_pixels(images[0], intact).shape == (120, 160, 3)


def test_checking_decodes_no_image(images, data):
    reader = ImageReader(partial(pytest.fail, "an image was decoded"), image_reader("folder", str(data)).sha256)
    check_images(images, {"folder": reader})


def test_several_threads_check():
    together = threading.Barrier(2, timeout=60)

    def sha256(path):
        # Passes only if two threads are here at once.
        if path in ("0", str(CHUNK)):
            together.wait()
        return path

    reader = ImageReader(partial(pytest.fail, "not needed"), sha256)
    check_images([UsedImage(str(n), str(n), "folder") for n in range(2 * CHUNK)], {"folder": reader})


def test_many_wrong_images_are_counted_in_order():
    reader = ImageReader(partial(pytest.fail, "not needed"), lambda path: path)
    images = [UsedImage(str(n), "other" if n % 2 else str(n), "folder") for n in range(5 * CHUNK)]
    with pytest.raises(UserError) as error:
        check_images(images, {"folder": reader})
    named = ", ".join(f"{n} (another sha256 than in the database)" for n in (1, 3, 5))
    assert str(error.value).startswith(
        f"images are missing or differ from those that the masks were made for ({5 * CHUNK // 2} of {5 * CHUNK}): "
    )
    assert f": {named} and {5 * CHUNK // 2 - 3} more; " in str(error.value)


@pytest.mark.parametrize("name", ["demo", "folder"])
def test_both_ways_give_the_sha256_of_a_record(name, data):
    root = "" if name == "demo" else str(data)
    known, store = DATASETS[name], root_of(name, root)
    listed = known.open(store, known.default_split)
    for entry in listed.entries[:2]:
        record = listed.read(entry)
        assert known.sha256(store, entry.path) == known.pixels(store, entry.path)[1] == record.sha256
