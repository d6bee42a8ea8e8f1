"""The samples of pre-training: objects, and objects pasted on other images."""

from dataclasses import replace

import numpy as np

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.training.object_samples import ObjectSamples, draw_object, paste_objects
from agg_pipeline.training.training_datasets import DatasetMixture
from agg_pipeline.training.training_sample import DrawnMask
from schemas.crop import crop_mask
from schemas.records import ImageRecord, ObjectMask
from schemas.resolve import override
from schemas.training import PretrainConfig
from stages.draws import generator
from tests.held_memory import peak_bytes


def test_objects_are_whole_and_without_the_others(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    seen = set()
    for number in range(20):
        drawn = draw_object(record, generator(number))
        match = [n for n, each in enumerate(record.objects) if np.array_equal(each.mask.full(), drawn.mask)]
        assert len(match) == 1
        other = record.objects[1 - match[0]].mask.full()
        assert np.array_equal(drawn.others, other & ~drawn.mask)
        seen.add(match[0])
    assert seen == {0, 1}


def thing(shade: int, box: tuple[int, int, int, int], shape: tuple[int, int] = (40, 60)) -> DrawnMask:
    top, bottom, left, right = box
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return DrawnMask(np.full((*shape, 3), shade, np.uint8), mask, np.zeros_like(mask), mask, 10)


def test_scenes_show_what_is_to_be_found_and_the_rest_is_others(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    own = [each.mask.full() for each in record.objects]
    pasted = [thing(shade, (10, 30, 10, 30)) for shade in (251, 253)]
    found = set()
    for number in range(60):
        drawn = paste_objects(record, pasted, generator(number))
        assert drawn.pixels.shape == record.pixels.shape
        assert drawn.mask.any()
        assert not (drawn.mask & drawn.others).any()
        shades = [(drawn.pixels == shade).all(axis=2) for shade in (251, 253)]
        # All that is there is the mask or others; the inside of what was pasted shows its own shade.
        for shade in shades:
            assert (drawn.mask | drawn.others)[shade].all()
        which = [n for n, shade in enumerate(shades) if shade.any() and drawn.mask[shade].all()]
        found.add(f"pasted {which[0]}" if which and not drawn.others[shades[which[0]]].any() else "own")
        if not which:
            assert any(not (drawn.mask & ~mask).any() for mask in own)
    assert found == {"pasted 0", "pasted 1", "own"}


def test_what_is_mostly_hidden_is_not_to_be_found(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    whole = [each.mask.full() for each in record.objects]
    cover = [thing(251, (0, 40, 0, 60))] * 3
    own = []
    for number in range(60):
        drawn = paste_objects(record, cover, generator(number))
        if not (drawn.pixels[drawn.mask] == 251).all(axis=1).any():
            own.append(drawn.mask)
    assert own
    for seen in own:
        assert any(not (seen & ~mask).any() and seen.sum() >= 0.25 * mask.sum() for mask in whole)


def test_ignored_pixels_reach_training_but_where_something_was_pasted(data):
    dataset = open_dataset("folder", str(data), None)
    record = dataset.read(dataset.entries[0])
    assert draw_object(record, generator(0)).ignored is None
    assert paste_objects(record, [], generator(0)).ignored is None
    ignored = np.zeros(record.pixels.shape[:2], bool)
    ignored[:, ::2] = True
    marked = replace(record, ignore=crop_mask(ignored, *ignored.shape))
    assert np.array_equal(draw_object(marked, generator(0)).ignored, ignored)
    drawn = paste_objects(marked, [thing(251, (0, 40, 0, 60))], generator(0))
    covered = (drawn.pixels == 251).all(axis=2)
    assert covered.any()
    assert not (drawn.ignored & covered).any()
    assert (drawn.ignored <= ignored).all()


def test_a_sample_depends_on_seed_epoch_and_number_alone(data):
    config = override(PretrainConfig(), {"paste": 0.5, "augment": {"size": 32, "view": "zoom", "min_area": 1}})
    samples = ObjectSamples(DatasetMixture([open_dataset("folder", str(data), None)]), config)
    for number in range(6):
        first, again = samples[0, number], samples[0, number]
        assert np.array_equal(first.pixels, again.pixels)
        assert first.clicks == again.clicks
        assert first.row == -1
    assert not np.array_equal(samples[0, 0].pixels, samples[1, 0].pixels)


def test_an_image_of_very_many_objects_takes_little_memory():
    shape, frame = (600, 800), np.zeros((600, 800), bool)
    objects = []
    for number in range(200):
        mask = frame.copy()
        mask[2 * number : 2 * number + 60, 3 * number : 3 * number + 60] = True
        objects.append(ObjectMask(number + 1, None, crop_mask(mask, *shape)))
    record = ImageRecord("a", "a.jpg", "", "", np.zeros((*shape, 3), np.uint8), tuple(objects))
    union = np.logical_or.reduce([each.mask.full() for each in objects])

    def draw():
        return draw_object(record, generator(0)), paste_objects(record, [thing(251, (10, 30, 10, 30))], generator(0))

    peak, (drawn, pasted) = peak_bytes(draw)
    assert np.array_equal(drawn.mask | drawn.others, union)
    assert (pasted.mask | pasted.others)[union].all()
    # As image-sized masks, the objects would take 96 MB.
    assert peak < 20_000_000
