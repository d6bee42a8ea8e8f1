"""The images of pre-training: draws by weight, and how many images are kept."""

import itertools
from dataclasses import replace

import pytest

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.training.training_datasets import DatasetMixture
from schemas.errors import UserError
from stages.draws import generator


def test_mixtures_follow_their_weights(data):
    mixture = DatasetMixture([open_dataset("folder", str(data), None), open_dataset("demo", "", "2")], (3.0, 1.0))
    rng = generator(0)
    drawn = [mixture.draw(rng).image_id for _ in range(400)]
    assert 0.18 < sum(name.startswith("demo") for name in drawn) / len(drawn) < 0.32
    assert {name for name in drawn if not name.startswith("demo")} == {f"im_{n}" for n in range(5)}


def test_images_without_objects_do_not_shift_the_weights(data):
    full, demo = open_dataset("folder", str(data), None), open_dataset("demo", "", "2")

    def read(entry):
        record = full.read(entry)
        return record if entry.image_id == "im_3" else replace(record, objects=())

    mixture = DatasetMixture([replace(full, reader=read), demo], (1.0, 1.0))
    rng = generator(0)
    drawn = [mixture.draw(rng).image_id for _ in range(400)]
    assert 0.4 < sum(name.startswith("demo") for name in drawn) / len(drawn) < 0.6
    assert "im_3" in drawn
    bare = replace(full, reader=lambda entry: replace(full.read(entry), objects=()))
    with pytest.raises(UserError, match="none of 100 images drawn from folder holds an object"):
        DatasetMixture([bare]).draw(rng)


def test_sets_without_objects_are_refused():
    dataset = open_dataset("demo", "", "2")
    parts = replace(dataset, about=replace(dataset.about, levels=("part",)))
    with pytest.raises(UserError, match="has no objects"):
        DatasetMixture([parts])


def test_images_are_kept_within_the_budget(data):
    full = open_dataset("folder", str(data), None)
    read = []

    def counted(entry):
        read.append(entry.image_id)
        return full.read(entry)

    size = full.read(full.entries[0]).pixels.nbytes
    three = replace(full, reader=counted, entries=full.entries[:3])

    def drawn(images):
        read.clear()
        mixture, rng = DatasetMixture([three], cache_bytes=images * size), generator(0)
        return [mixture.draw(rng).image_id for _ in range(60)]

    assert set(drawn(3)) == {"im_0", "im_1", "im_2"}
    assert len(read) == 3
    # With room for one image, an image is read again unless it is drawn twice in a row.
    assert read == [name for name, _ in itertools.groupby(drawn(1))]
    assert len(read) > 20
