"""Memory of a shard with many large masks: what waits between stages is packed, what is in work is one batch."""

import numpy as np

from agg_pipeline.execution.chain import ModelStage, run_batches, run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import chain
from schemas.crop import crop_mask
from schemas.presets import PRESETS
from schemas.records import ImageEntry, ImageRecord, ObjectMask
from schemas.resolve import override
from tests.held_memory import arrays_of, peak_bytes
from tests.toy_run import Halver

HEIGHT, WIDTH = 200, 300
PIXELS = HEIGHT * WIDTH
CONFIG = override(PRESETS["paper"], {"batch": {"batch_pixels": 2 * PIXELS}})


def read(entry):
    """As many ellipses as the entry says; their boxes fill half of the image."""
    rows, cols = np.ogrid[:HEIGHT, :WIDTH]
    objects = []
    for number in range(entry.annotation):
        top, left = number % 40, number % 70
        mask = ((rows - top - 75) / 75) ** 2 + ((cols - left - 110) / 110) ** 2 <= 1
        objects.append(ObjectMask(number, None, crop_mask(mask, HEIGHT, WIDTH)))
    return ImageRecord(entry.image_id, "a.png", "0", "", np.zeros((HEIGHT, WIDTH, 3), np.uint8), tuple(objects))


def task(objects):
    return ShardTask(0, "toy", (ImageEntry("a", "a.png", 1, objects),), read, CONFIG)


def masks_and_pixels(state):
    arrays = list(arrays_of(state).values())
    masks = [array.nbytes for array in arrays if array.shape != (HEIGHT, WIDTH, 3)]
    return masks, len(arrays) - len(masks)


def test_masks_wait_between_stages_with_one_bit_per_pixel():
    state, model, counts, held = task(30), Halver(), [], []
    for stage in chain(CONFIG).stages:
        if isinstance(stage, ModelStage):
            state = stage.fill(state, run_batches(stage, state, model))
        else:
            state = stage.run(state)
        masks, images = masks_and_pixels(state)
        assert max(masks) <= PIXELS // 8
        counts.append(len(masks))
        held.append(images)
    assert held == [1, 1, 1, 1, 0]
    assert counts[0] == 30
    assert counts[1] > 100  # objects and candidates
    assert counts[4] > 100  # objects, parts and complements


def test_peak_of_a_shard_grows_by_packed_masks_only():
    model, stages = Halver(), chain(CONFIG).stages
    run_stages(stages, task(2), model)  # so that whatever is made once is there
    few, _ = peak_bytes(lambda: run_stages(stages, task(30), model))
    many, state = peak_bytes(lambda: run_stages(stages, task(60), model))
    masks, _ = masks_and_pixels(state)
    # An object with its candidates and proposals, about ten masks, takes less than one of them unpacked on the frame.
    assert many - few < 30 * PIXELS
    # What is in work: float maps and their copies, for one batch.
    assert many < 16 * CONFIG.batch.batch_pixels + 2 * sum(masks)
