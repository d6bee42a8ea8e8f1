"""Annotations that cannot be used are rows of rejects beside what the image's other annotations give."""

from dataclasses import replace

from agg_pipeline.evaluation import interactions
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import load, shard_tables
from schemas.config import EvaluationConfig
from schemas.records import Reject

BROKEN = Reject("im_0", 9, None, "load", "unreadable_object", "annotation 9 is broken")


def with_a_broken_object(dataset):
    def read(entry):
        return replace(dataset.read(entry), rejects=(BROKEN,))

    return read


def test_broken_object_is_a_row_of_the_database(toy_dataset, toy_config):
    task = ShardTask(0, "toy", toy_dataset.entries[:1], with_a_broken_object(toy_dataset), toy_config)
    shard = load(task)
    assert [target.object.instance_id for target in shard.targets] == [2, 9]
    assert shard_tables(shard)["rejects"].to_pylist() == [
        {
            "image_id": "im_0",
            "instance_id": 9,
            "step": None,
            "stage": "load",
            "reason": "unreadable_object",
            "detail": "annotation 9 is broken",
            "source": 0,
        }
    ]


def test_broken_object_is_a_row_of_an_evaluation(toy_dataset):
    task = ShardTask(0, "toy", toy_dataset.entries[:1], with_a_broken_object(toy_dataset), EvaluationConfig())
    assert interactions.load(task).rejects == (BROKEN,)
