"""Shards whose images do not fit into memory together: how many pixels are held, and that the rows are the same."""

import hashlib
import weakref
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from agg_pipeline.evaluation import evaluation_tables, interactions
from agg_pipeline.evaluation.latency import measure_latency
from agg_pipeline.execution.batch_pixels import KEPT_BATCHES
from agg_pipeline.execution.chain import ModelStage, run_batches, run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals import pipeline
from schemas.config import EvaluationConfig
from schemas.crop import Crop, crop_mask
from schemas.errors import ImageError, UserError
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask, PartMask
from schemas.resolve import override
from tests.held_memory import arrays_of
from tests.toy_run import Halver

HEIGHT, WIDTH = 60, 80
PIXELS = HEIGHT * WIDTH
IMAGES = 9
PROPOSALS = override(PRESETS["paper"], {"masks": {"min_area": 20}})
PARTS = override(PRESETS["paper"], {"source": "gt"})
EVALUATION = override(EvaluationConfig(), {"mode": "best_of", "attempts": 2, "clicks": {"max_clicks": 3}})
RUNS = {
    "proposals": (pipeline.chain(PROPOSALS).stages, PROPOSALS, pipeline.shard_tables),
    "annotated parts": (pipeline.chain(PARTS).stages, PARTS, pipeline.shard_tables),
    "evaluation": (interactions.stages(EVALUATION), EVALUATION, evaluation_tables.tables),
}
ENTRIES = tuple(ImageEntry(f"im_{n}", f"im_{n}.png", 1, n) for n in range(IMAGES))


class Files:
    """Makes images of noise, and counts the pixels that are in memory whenever one is read."""

    def __init__(self):
        self.held = 0
        self.reads = []
        self.most = 0

    def pixels(self, path):
        number = int(path.removeprefix("im_").removesuffix(".png"))
        made = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        self.held += PIXELS
        weakref.finalize(made, self._release)
        self.most = max(self.most, self.held)
        self.reads.append(number)
        return made, hashlib.sha256(made).hexdigest()

    def _release(self):
        self.held -= PIXELS

    def read(self, entry):
        """Two objects, the first with a part; none in every fourth image, and the last one cannot be read."""
        number = entry.annotation
        if number == IMAGES - 1:
            raise ImageError("unreadable_image", "made to fail")
        first, second = np.zeros((2, HEIGHT, WIDTH), bool)
        first[5:45, 2 + number : 40] = True
        second[10:55, 44 : 75 - number] = True
        part = PartMask("1", "part", "part", crop_mask(first & (np.indices(first.shape)[0] < 20), HEIGHT, WIDTH))
        objects = (
            ObjectMask(1, None, crop_mask(first, HEIGHT, WIDTH), (part,)),
            ObjectMask(2, None, crop_mask(second, HEIGHT, WIDTH)),
        )
        pixels, sha256 = self.pixels(entry.path)
        return ImageRecord(entry.image_id, entry.path, sha256, "", pixels, () if number % 4 == 3 else objects)


class Noisy(Halver):
    """As the toy model, without a prompt too; its probabilities depend on the pixels of the image."""

    forward_seconds = 0.0
    splits = 0
    parameters = 0

    def _one(self, interaction):
        height, width = interaction.image.shape[:2]
        prompt = interaction.prompt or crop_mask(np.ones((height, width), bool), height, width)
        found = super()._one(replace(interaction, prompt=prompt))
        brightness = interaction.image.mean(axis=2, dtype=np.float32) / 255
        values = found.probability.values * (np.float32(0.9) + np.float32(0.1) * brightness)
        return replace(found, probability=Crop(height, width, found.probability.box, values))


def task_of(config, files, batch_pixels, entries=ENTRIES):
    config = override(config, {"batch": {"batch_pixels": batch_pixels}})
    return ShardTask(0, "toy", entries, files.read, config, read_pixels=files.pixels)


def rows(name, batch_pixels, entries=ENTRIES):
    stages, config, tables = RUNS[name]
    files = Files()
    shard = run_stages(stages, task_of(config, files, batch_pixels, entries), Noisy())
    assert not [array for array in arrays_of(shard).values() if array.ndim == 3]
    assert files.held == 0
    return {table: found.to_pylist() for table, found in tables(shard).items()}, files


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("batch_pixels", [1, PIXELS, 2 * PIXELS])
def test_images_that_are_read_again_give_the_same_rows(name, batch_pixels):
    expected, files = rows(name, 100 * PIXELS)
    assert sorted(files.reads) == list(range(IMAGES - 1))
    assert all(expected.values())
    found, files = rows(name, batch_pixels)
    assert found == expected
    # What is kept and what a batch holds, which is one image at least.
    kept = KEPT_BATCHES * batch_pixels // PIXELS
    assert files.most <= (kept + max(1, batch_pixels // PIXELS)) * PIXELS
    assert len(files.reads) > IMAGES
    # Each model stage reads an image at most once, however many batches it is in.
    model_stages = sum(isinstance(stage, ModelStage) for stage in RUNS[name][0])
    assert max(files.reads.count(number) for number in range(IMAGES)) == 1 + model_stages
    assert files.reads.count(0) == (1 if kept else 1 + model_stages)


@pytest.mark.parametrize("name", RUNS)
def test_a_shard_of_one_giant_image(name):
    expected, _ = rows(name, 100 * PIXELS, ENTRIES[:1])
    found, files = rows(name, PIXELS // 10, ENTRIES[:1])
    assert found == expected
    assert files.most == PIXELS


@pytest.mark.parametrize("name", RUNS)
def test_states_that_travel_between_workers_hold_few_pixels_and_results_none(name):
    stages, config, tables = RUNS[name]
    files = Files()
    state = task_of(config, files, PIXELS)
    for stage in stages:
        if not isinstance(stage, ModelStage):
            state = stage.run(state)
            continue
        assert sum(array.ndim == 3 for array in arrays_of(state).values()) == KEPT_BATCHES
        results = []
        for part in range(2):
            # Each worker has a copy of its own.
            own = replace(state, **{field: deepcopy(getattr(state, field)) for field in ("targets", "pixels")})
            results += deepcopy(run_batches(stage, own, Noisy(), part, 2))
        assert not [array for array in arrays_of(results).values() if array.ndim == 3]
        state = stage.fill(state, results)
    assert {table: found.to_pylist() for table, found in tables(state).items()} == rows(name, 100 * PIXELS)[0]


@pytest.mark.parametrize("name", RUNS)
def test_an_image_that_was_replaced_meanwhile_ends_the_run(name):
    stages, config, _ = RUNS[name]
    files = Files()
    loaded = stages[0].run(task_of(config, files, PIXELS // 3))
    changed = replace(loaded, task=replace(loaded.task, read_pixels=lambda _path: files.pixels("im_7.png")))
    with pytest.raises(UserError, match=r"^image im_0\.png has changed while the run used it: it has another sha256"):
        run_stages(stages[1:], changed, Noisy())


def test_latency_reads_one_image_at_a_time():
    files = Files()
    found = measure_latency(task_of(EVALUATION, files, PIXELS // 3), Noisy())
    assert found.clicks == 20
    assert files.most == PIXELS
    assert files.held == 0
