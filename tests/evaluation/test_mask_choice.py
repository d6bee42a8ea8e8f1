"""Which masks are evaluated where not all are: the sample, the first ones, and how images are read for them."""

import dataclasses
import os

import pytest

from agg_pipeline.datasets import all_cores
from agg_pipeline.datasets.evaluated_masks import sample
from agg_pipeline.evaluation import mask_choice
from agg_pipeline.evaluation.evaluation_tables import chosen_masks
from agg_pipeline.evaluation.interactions import load
from agg_pipeline.evaluation.mask_choice import limited, masks_of, sampled
from agg_pipeline.evaluation.run import _is_finished, run
from agg_pipeline.execution.job import Progress, tasks_of
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.storage.lock import owned
from agg_pipeline.storage.store import Store
from schemas.errors import UserError
from schemas.resolve import override
from tests.evaluation.test_interactions import CONFIG, dataset_of


def test_limit_over_several_shards():
    dataset = dataset_of("a", "b", "c", "d", "e")
    tasks = tasks_of(dataset, CONFIG, 2, None)
    for masks in range(1, 17):
        cut = limited(tasks, masks)
        assert sum(len(load(one).targets) for one in cut) == min(masks, 15)
        assert len(cut) == min(3, -(-masks // 6))
        assert [one.index for one in cut] == list(range(len(cut)))


def test_sample_is_so_many_of_each_level_and_larger_ones_hold_it():
    dataset = dataset_of(*"abcdefgh")
    tasks = tasks_of(dataset, CONFIG, 2, None)

    def ids(size, seed=0):
        config = override(CONFIG, {"sample": size, "seed": seed})
        return {
            target.target_id: target.level for task in sampled(dataset, tasks, config) for target in load(task).targets
        }

    for size in (1, 3, 8):
        levels = list(ids(size).values())
        assert (levels.count("object"), levels.count("part")) == (size, size)
    assert set(ids(3)) < set(ids(8))
    assert set(ids(3)) != set(ids(3, seed=1))
    assert len(ids(100)) == 24
    # What cannot be used is recorded even if no mask is drawn from its image.
    bad = dataset_of(*"abc", "broken")
    few = override(CONFIG, {"sample": 1})
    kept = [entry.image_id for task in sampled(bad, tasks_of(bad, CONFIG, 2, None), few) for entry in task.entries]
    assert "broken" in kept
    # Images without a drawn mask are not read again.
    assert sum(len(task.entries) for task in sampled(dataset, tasks, override(CONFIG, {"sample": 1}))) <= 2


def test_sample_holds_the_masks_with_the_smallest_draws():
    dataset = dataset_of(*"abcdefgh")
    tasks = tasks_of(dataset, CONFIG, 3, None)
    masks = [target for task in tasks for target in load(task).targets]
    for size, seed in ((1, 0), (4, 0), (4, 1)):
        config = override(CONFIG, {"sample": size, "seed": seed})
        drawn = [target.target_id for task in sampled(dataset, tasks, config) for target in load(task).targets]
        assert drawn == [mask.target_id for mask in sample(masks, "toy", size, seed)]


@pytest.fixture
def several_processes(monkeypatch):
    monkeypatch.setattr(all_cores, "FEW", 1)
    monkeypatch.setattr(all_cores, "CHUNK", 2)


@pytest.mark.long
def test_several_processes_choose_the_same(request):
    dataset = dataset_of("a", "none", "c", "broken", "e", "f", "g")
    tasks = tasks_of(dataset, CONFIG, 2, None)
    config = override(CONFIG, {"sample": 2})
    alone = sampled(dataset, tasks, config), limited(tasks, 7)
    request.getfixturevalue("several_processes")
    together = sampled(dataset, tasks, config), limited(tasks, 7)
    for ours, theirs in zip(together, alone, strict=True):
        assert [(task.index, task.entries, task.chosen, task.limit) for task in ours] == [
            (task.index, task.entries, task.chosen, task.limit) for task in theirs
        ]
    assert [task.limit for task in alone[1]] == [7, 4, 1]


def counting(dataset, path):
    """The data set, which writes the images that it is asked for into a file: they are read in other processes."""
    path.touch()

    def read(entry):
        with path.open("a") as file:
            file.write(entry.image_id)
        return dataset.read(entry)

    return dataclasses.replace(dataset, reader=read)


def test_only_the_images_of_the_first_masks_are_read(tmp_path):
    dataset = counting(dataset_of(*"abcdefgh"), tmp_path / "asked")
    assert len(limited(tasks_of(dataset, CONFIG, 2, None), 4)) == 1
    assert (tmp_path / "asked").read_text() == "ab"


def test_sample_reads_every_image_once(tmp_path):
    dataset = counting(dataset_of(*"abcdefgh"), tmp_path / "asked")
    sampled(dataset, tasks_of(dataset, CONFIG, 3, None), override(CONFIG, {"sample": 1}))
    assert (tmp_path / "asked").read_text() == "abcdefgh"


def kills(entry):
    if entry.image_id == "b":
        os._exit(1)
    return dataset_of("a", "b", "c").read(entry)


def test_image_that_kills_the_process_that_reads_it_has_no_mask_to_choose():
    dataset = dataclasses.replace(dataset_of(*"abc"), reader=kills)
    tasks = tasks_of(dataset, CONFIG, 3, None)
    (task,) = sampled(dataset, tasks, override(CONFIG, {"sample": 100}))
    assert {target_id.partition(":")[0] for target_id in task.chosen} == {"a", "c"}
    # It stays in the task, whose worker makes a reject of it.
    assert [entry.image_id for entry in task.entries] == ["a", "b", "c"]


def test_masks_of_an_image_that_cannot_be_read():
    dataset = dataset_of("a", "broken")
    (task,) = tasks_of(dataset, CONFIG, 2, None)
    whole, broken = (masks_of(task, entry) for entry in dataset.entries)
    assert whole.masks == (("a:1:object:0", "object"), ("a:1:part:3", "part"), ("a:7:object:0", "object"))
    assert [(reject.reason, reject.detail) for reject in whole.rejects] == [("empty_object", "mask a:1:part:4")]
    assert broken.masks == ()
    assert [(reject.reason, reject.detail) for reject in broken.rejects] == [("unreadable_image", "made to fail")]


def test_nothing_to_draw_from_says_why():
    dataset = dataset_of("broken", "none")
    with pytest.raises(UserError) as error:
        sampled(dataset, tasks_of(dataset, CONFIG, 2, None), override(CONFIG, {"sample": 1}))
    assert str(error.value) == (
        "toy val has no mask to evaluate: "
        "3 x every pixel of the mask is ignored (for example none: mask none:1:object:0); "
        "1 x the image file is missing, truncated or of an unknown format (for example broken: made to fail); "
        "1 x the object's mask has no pixel (for example none: mask none:1:part:4)"
    )


def killed_by(monkeypatch, *image_ids):
    """Let the processes that read some images die."""
    read = mask_choice._read

    def died(tasks):
        entries = [entry for task in tasks for entry in task.entries]
        for entry, found in zip(entries, read(tasks), strict=True):
            yield mask_choice._died(entry, "it died") if entry.image_id in image_ids else found

    monkeypatch.setattr(mask_choice, "_read", died)


@pytest.mark.parametrize("choose", ["sampled", "limited"])
def test_image_whose_reading_kills_processes_is_recorded(monkeypatch, choose):
    killed_by(monkeypatch, "b")
    dataset = dataset_of("a", "b", "c")
    tasks = tasks_of(dataset, CONFIG, 3, None)
    if choose == "sampled":
        (task,) = sampled(dataset, tasks, override(CONFIG, {"sample": 100}))
    else:
        (task,) = limited(tasks, 100)
    found = load(task)
    assert [reject.reason for reject in found.rejects if reject.image_id == "b"] == ["killed_worker"]
    assert {target.image.image_id for target in found.targets} == {"a", "c"}


def test_shard_of_another_sample_is_not_finished(monkeypatch):
    dataset = dataset_of("a", "b", "c")
    tasks, config = tasks_of(dataset, CONFIG, 3, None), override(CONFIG, {"sample": 2})

    def sidecar(task):
        shard = load(task)
        masks = {"masks": len(shard.targets), "whole": shard.whole, "chosen": chosen_masks(task)}
        return {"images": len(task.entries), **masks}

    (undisturbed,) = sampled(dataset, tasks, config)
    lost = sorted({target.image.image_id for target in load(undisturbed).targets})[0]
    with monkeypatch.context() as disturbed:
        killed_by(disturbed, lost)
        (other,) = sampled(dataset, tasks, config)
    assert _is_finished(undisturbed, sidecar(undisturbed))
    assert not _is_finished(undisturbed, sidecar(other))
    # Nor is one of fewer images, or one of version 0.1, which does not say what was chosen.
    assert not _is_finished(undisturbed, sidecar(undisturbed) | {"images": len(undisturbed.entries) - 1})
    old = {key: value for key, value in sidecar(undisturbed).items() if key != "chosen"}
    assert not _is_finished(undisturbed, old)
    assert _is_finished(tasks[0], {"images": 3, "masks": 9, "whole": True})


@pytest.mark.parametrize(("config", "limit"), [(override(CONFIG, {"sample": 1}), None), (CONFIG, 1)])
def test_no_image_is_read_for_a_folder_that_another_run_owns(tmp_path, config, limit):
    dataset = counting(dataset_of("a", "b"), tmp_path / "asked")
    quiet = Progress()
    with owned(Store(str(tmp_path / "run"))), pytest.raises(UserError, match="is being written by another run"):
        run(dataset, str(default_checkpoint()), "", config, limit, RunOptions(str(tmp_path)), quiet)
    assert (tmp_path / "asked").read_text() == ""


def test_no_image_is_read_for_a_folder_that_holds_another_run(tmp_path):
    dataset = counting(dataset_of("a", "b"), tmp_path / "asked")
    quiet = Progress()
    store = Store(str(tmp_path / "run"))
    sidecar = dict.fromkeys(("config_hash", "images", "masks", "whole", "noc")) | {"shard": 0, "files": {}}
    store.write_json("shards/part-00000.json", sidecar)
    plan = {"format_version": 1, "config_hash": "0", "shards": [["a"]], "dataset": {"name": "other"}}
    store.write_json("plan.json", plan)
    config = override(CONFIG, {"sample": 1})
    with pytest.raises(UserError, match=r'holds another run.*; dataset.name: "other" -> "toy"'):
        run(dataset, str(default_checkpoint()), "", config, None, RunOptions(str(tmp_path)), quiet)
    assert (tmp_path / "asked").read_text() == ""
