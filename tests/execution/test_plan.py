"""The plan of a run, and the refusal of another one."""

import copy
import dataclasses
import json

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.execution.plan import is_plan, make_plan, refuse_other_plan
from schemas.errors import UserError
from schemas.resolve import override
from tests.toy_run import ENVIRONMENT, MODEL


def test_plan_names_every_image_once_in_order(toy_dataset, toy_plan):
    assert [image for shard in toy_plan["shards"] for image in shard] == [e.image_id for e in toy_dataset.entries]
    assert [len(shard) for shard in toy_plan["shards"]] == [3, 3, 2]
    assert toy_plan["dataset"]["images"] == 8
    assert json.loads(json.dumps(toy_plan)) == toy_plan


def test_hash_of_the_plan_changes_with_all_that_changes_the_result(toy_dataset, toy_config, toy_plan):
    def hashed(dataset=toy_dataset, model=MODEL, environment=ENVIRONMENT, config=toy_config):
        return make_plan(DATABASE_LAYOUT, dataset, model, environment, config)["config_hash"]

    others = [
        hashed(dataset=dataclasses.replace(toy_dataset, fingerprint="0" * 32)),
        hashed(dataset=dataclasses.replace(toy_dataset, split="train")),
        hashed(model=MODEL | {"sha256": "1" * 64}),
        hashed(environment=ENVIRONMENT | {"torch": "1"}),
        hashed(config=override(toy_config, {"seed": 1})),
        hashed(config=override(toy_config, {"loop": {"max_draws": 3}})),
        hashed(config=override(toy_config, {"predictor": {"threads": 2}})),
        hashed(config=override(toy_config, {"batch": {"batch_objects": 2}})),
    ]
    assert hashed() == toy_plan["config_hash"]
    assert len({toy_plan["config_hash"], *others}) == 1 + len(others)


def refusal(old, new):
    with pytest.raises(UserError) as error:
        refuse_other_plan("out", old, new)
    return str(error.value)


def test_other_plan_is_refused_with_the_difference(toy_dataset, toy_config, toy_plan):
    refuse_other_plan("out", toy_plan, toy_plan)
    changed = override(toy_config, {"seed": 3, "loop": {"keep": "last"}})
    message = refusal(toy_plan, make_plan(DATABASE_LAYOUT, toy_dataset, MODEL, ENVIRONMENT, changed))
    assert message == (
        "out holds another run; choose another output folder, or use --overwrite to delete it. Different: "
        'config.loop.keep: "all" -> "last"; config.seed: 0 -> 3'
    )
    shuffled = copy.deepcopy(toy_plan)
    shuffled["shards"].reverse()
    assert refusal(toy_plan, shuffled).endswith("Different: shards: another order or choice of images")


@pytest.mark.parametrize(
    ("before", "now", "advice"),
    [("cuda", "cpu", "--device cuda on a machine with a GPU"), ("cpu", "cuda", "--device cpu")],
)
def test_a_run_on_another_device_says_how_to_go_on(toy_dataset, toy_config, before, now, advice):
    def plan(device, seed=0):
        config = override(toy_config, {"seed": seed, "predictor": {"device": device}})
        return make_plan(DATABASE_LAYOUT, toy_dataset, MODEL, ENVIRONMENT | {"device": device}, config)

    message = refusal(plan(before), plan(now))
    assert message.endswith(
        f'Different: config.predictor.device: "{before}" -> "{now}"; environment.device: "{before}" -> "{now}"; '
        f"to go on with that run, use {advice}"
    )
    assert "to go on" not in refusal(plan(before), plan(now, seed=3))


def test_what_matters_first_is_named_first(toy_dataset, toy_config, toy_plan):
    about = dataclasses.replace(toy_dataset.about, name="other", licence="b", citation="b", homepage="b")
    dataset = dataclasses.replace(toy_dataset, about=about, split="train", fingerprint="0" * 32)
    model = MODEL | {"sha256": "1" * 64, "input_size": 64}
    config = override(toy_config, {"seed": 3, "batch": {"batch_objects": 2}})
    plan = make_plan(DATABASE_LAYOUT, dataset, model, ENVIRONMENT | {"torch": "1"}, config)
    assert refusal(toy_plan, plan).partition("Different: ")[2].split("; ") == [
        'dataset.name: "toy" -> "other"',
        'dataset.split: "val" -> "train"',
        "model.input_size: 32 -> 64",
        f"config.batch.batch_objects: {toy_config.batch.batch_objects} -> 2",
        "config.seed: 0 -> 3",
        # The version of torch, layout, licence, citation and homepage of the data, and the two hashes.
        "and 7 more",
    ]
    other_files = make_plan(
        DATABASE_LAYOUT,
        dataclasses.replace(toy_dataset, fingerprint="0" * 32),
        MODEL | {"sha256": "1" * 64},
        ENVIRONMENT | {"torch": "1"},
        toy_config,
    )
    keys = [each.partition(":")[0] for each in refusal(toy_plan, other_files).partition("Different: ")[2].split("; ")]
    assert keys == ["environment.torch", "dataset.fingerprint", "model.sha256"]
    assert "algorithm_version: 1 -> 2; dataset.name" in refusal(plan | {"algorithm_version": 1}, toy_plan)


def test_shards_without_a_plan_are_refused(toy_plan):
    assert "out holds shards, but no plan.json that can be read" in refusal(None, toy_plan)


@pytest.mark.parametrize("content", [None, [], "plan", {}, {"shards": []}, {"version": 4, "resource_changes": []}])
def test_json_of_another_program_is_no_plan(toy_plan, content):
    assert is_plan(toy_plan)
    assert not is_plan(content)
