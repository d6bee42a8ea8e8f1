"""Configuration: overriding, ranges, hash and differences."""

import dataclasses
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agg_pipeline.study.study_config import StudyConfig
from schemas.canonical import canonical_json, content_hash, differences, flatten
from schemas.config import EvaluationConfig, LoopConfig, ProposalsConfig
from schemas.errors import UserError
from schemas.fields import INFINITY, keys_of
from schemas.presets import EVALUATION_PRESETS, PRESETS
from schemas.resolve import on_device, override, validated
from schemas.training import FinetuneConfig, PretrainConfig

CONFIGS = (ProposalsConfig(), EvaluationConfig(), FinetuneConfig(), PretrainConfig(), StudyConfig())
PAPER = PRESETS["paper"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_override_replaces_only_what_is_named():
    changed = override(PAPER, {"seed": 7, "loop": {"max_draws": 3}})
    assert (changed.seed, changed.loop.max_draws) == (7, 3)
    restored = dataclasses.replace(changed, seed=0, loop=PAPER.loop)
    assert restored == PAPER
    assert ProposalsConfig().seed == 0


def test_unknown_key_names_the_possible_ones():
    with pytest.raises(UserError) as error:
        override(PAPER, {"loop": {"max_negative": 3}})
    message = str(error.value)
    assert "'loop.max_negative'" in message
    assert all(field.name in message for field in dataclasses.fields(LoopConfig))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": "1"}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"seed": True}, "seed"),
        ({"seed": None}, "seed"),
        ({"loop": {"min_distance": "far"}}, "loop.min_distance"),
        ({"loop": {"min_distance": False}}, "loop.min_distance"),
        ({"masks": {"fill_holes": 1}}, "masks.fill_holes"),
        ({"masks": {"component": "smallest"}}, "masks.component"),
        ({"masks": {"component": []}}, "masks.component"),
        ({"predictor": {"dtype": "float16"}}, "predictor.dtype"),
        ({"preset": "paperback"}, "preset"),
        ({"loop": 3}, "loop"),
        ({"loop": [{"max_draws": 3}]}, "loop"),
        ({"nothing": 3}, "nothing"),
        ({"nothing": {"loop": 3}}, "nothing"),
    ],
)
def test_bad_value_is_a_user_error_that_names_its_key(changes, named):
    with pytest.raises(UserError, match=re.escape(repr(named))):
        override(PAPER, changes)


def test_bad_choice_names_the_possible_ones():
    with pytest.raises(UserError, match=r"'masks\.component' is 'small'; possible: largest, random$"):
        override(PAPER, {"masks": {"component": "small"}})


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"sede": 3}, "unknown configuration key 'sede'; did you mean 'seed'? Possible: batch, granularity, "),
        ({"loop": {"round": 3}}, "unknown configuration key 'loop.round'; did you mean 'rounds'? Possible: contrast, "),
        ({"masks": {"component": "larges"}}, "is 'larges'; did you mean 'largest'? Possible: largest, random"),
    ],
)
def test_the_key_or_value_that_was_probably_meant_is_named(changes, meant):
    with pytest.raises(UserError) as error:
        override(PAPER, changes)
    assert meant in str(error.value)


def test_whole_number_is_accepted_for_a_real_one():
    changed = override(PAPER, {"granularity": {"weight": 1}})
    assert type(changed.granularity.weight) is float
    assert content_hash(dataclasses.asdict(changed)) == content_hash(
        dataclasses.asdict(override(PAPER, {"granularity": {"weight": 1.0}}))
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_and_know_their_name(preset):
    assert validated(PRESETS[preset]) is PRESETS[preset]
    assert PRESETS[preset].preset == preset


def test_presets_say_what_the_protocol_says():
    paper, released = PRESETS["paper"], PRESETS["released"]
    assert (paper.loop.min_negatives, paper.loop.max_negatives, paper.loop.keep) == (3, 6, "all")
    assert (released.loop.min_negatives, released.loop.max_negatives, released.loop.keep) == (2, 4, "last")
    assert (paper.loop.min_distance, paper.loop.max_draws, released.loop.min_distance) == (0.05, 20, 0.0)
    assert (paper.loop.contrast, released.loop.contrast) == (1, 1)
    assert not paper.loop.zoom
    assert not released.loop.zoom
    assert PRESETS["parts"] == replace(paper, preset="parts", loop=replace(paper.loop, contrast=8, zoom=True))
    assert released.loop.min_mask_area == 400
    assert (paper.masks.fill_holes, paper.masks.opening, paper.masks.min_area) == (True, 3, 400)
    assert (released.masks.fill_holes, released.masks.component) == (False, "random")
    assert (released.min_box_fill, released.masks.random_component_area) == (0.08, 1500)
    assert (paper.granularity.weight, paper.granularity.click, released.granularity.click) == (0.5, "centre", "eroded")
    assert (paper.predictor.flip, released.predictor.flip) == (False, True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"min_box_fill": 1.5}, "min_box_fill"),
        ({"loop": {"min_negatives": -1}}, "loop.min_negatives"),
        ({"loop": {"min_negatives": 7}}, "loop.max_negatives"),
        ({"loop": {"max_negatives": 24}}, "loop.max_negatives"),
        ({"loop": {"contrast": 0}}, "loop.contrast"),
        ({"loop": {"contrast": 21}}, "loop.contrast"),
        ({"loop": {"min_distance": float("nan")}}, "loop.min_distance"),
        ({"loop": {"max_draws": 0}}, "loop.max_draws"),
        ({"masks": {"opening": 0}}, "masks.opening"),
        ({"masks": {"min_area": 0}}, "masks.min_area"),
        ({"masks": {"max_object_iou": 1.01}}, "masks.max_object_iou"),
        ({"granularity": {"weight": -0.1}}, "granularity.weight"),
        ({"predictor": {"threads": 0}}, "predictor.threads"),
        ({"predictor": {"input_size": -1}}, "predictor.input_size"),
        ({"batch": {"images_per_shard": 0}}, "batch.images_per_shard"),
        ({"batch": {"batch_objects": -1}}, "batch.batch_objects"),
        ({"batch": {"batch_pixels": 0}}, "batch.batch_pixels"),
        ({"batch": {"batch_pixels": 2**63}}, "batch.batch_pixels"),
        ({"masks": {"min_area": 10**30}}, "masks.min_area"),
        ({"loop": {"min_distance": 10**400}}, "loop.min_distance"),
    ],
)
def test_number_out_of_its_range_is_refused(changes, named):
    with pytest.raises(UserError, match=re.escape(repr(named))):
        validated(override(PAPER, changes))


@pytest.mark.parametrize(
    ("config", "changes", "said"),
    [
        (PAPER, {"masks": {"opening": 2}}, "'masks.opening' is 2; it must be odd"),
        (PAPER, {"predictor": {"device": "gpu"}}, "'predictor.device' is 'gpu'; possible: auto, cpu, cuda, cuda:N"),
        (
            PAPER,
            {"predictor": {"device": "cuda:x"}},
            "'predictor.device' is 'cuda:x'; possible: auto, cpu, cuda, cuda:N",
        ),
        (EvaluationConfig(), {"mode": "curves"}, "'clicks.early_stop' is true; it must be false in the mode 'curves'"),
        (EvaluationConfig(), {"granularity": 0.5}, "'granularity' is 0.5; it has no effect in the mode 'none'"),
        (EvaluationConfig(), {"mode": "per_class"}, "'granularities' is []; the mode 'per_class' needs them"),
        (
            EvaluationConfig(granularities=(("part", 0.5),)),
            {},
            "'granularities' is [('part', 0.5)]; they have no effect in the mode 'none'",
        ),
        (
            EvaluationConfig(),
            {"attempts": 3},
            "'attempts' is 3; it has no effect in the mode 'none', only in 'best_of'",
        ),
        (EvaluationConfig(), {"clicks": {"carry_roi": True}}, "'clicks.carry_roi' is true; it has no effect"),
        (
            FinetuneConfig(),
            {"augment": {"min_zoom": 3.0}},
            "'augment.min_zoom' is 3.0; it must be at most max_zoom, 2.0",
        ),
        (
            PretrainConfig(),
            {"training": {"device": "tpu"}},
            "'training.device' is 'tpu'; possible: auto, cpu, cuda, cuda:N",
        ),
        (StudyConfig(), {"variants": ["AGG", "magic"]}, "unknown variant 'magic'; possible: AGG, GT,"),
        (StudyConfig(), {"ablation_sets": ["coco"]}, "'ablation_sets' is ['coco']; coco is none of the study's sets"),
    ],
)
def test_values_that_contradict_each_other_are_refused(config, changes, said):
    changed = override(config, changes)
    with pytest.raises(UserError, match=re.escape(said)):
        validated(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "optimal", "clicks": {"carry_roi": True}},
        {"mode": "curves", "clicks": {"early_stop": False}},
        {"mode": "fixed", "granularity": 0.5},
        {"mode": "best_of", "attempts": 3},
    ],
)
def test_values_that_fit_each_other_are_possible(changes):
    config = override(EvaluationConfig(), changes)
    assert validated(config) is config


def test_lists_are_written_as_in_toml():
    assert override(StudyConfig(), {"sets": ["sbd", "demo"]}).sets == ("sbd", "demo")
    for value in (["sbd", 1], "sbd", [["sbd"]]):
        with pytest.raises(UserError, match="a value of type list of texts is needed"):
            override(StudyConfig(), {"sets": value})
    with pytest.raises(UserError, match="'granularities'"):
        override(EvaluationConfig(), {"granularities": [["part", 0.5]]})


@pytest.mark.parametrize("config", [*CONFIGS, *EVALUATION_PRESETS.values()], ids=lambda config: type(config).__name__)
def test_every_key_says_what_it_means_and_its_default_is_possible(config):
    assert validated(config) is config
    keys = list(keys_of(config))
    assert [key.name for key in keys] == list(flatten(dataclasses.asdict(config)))
    for key in keys:
        assert key.setting.help.endswith("."), key.name
        if type(key.value) in (int, float):
            assert -INFINITY < key.setting.low < key.setting.high, key.name


def test_infinite_number_is_refused_because_a_plan_cannot_hold_it():
    config = override(PAPER, {"loop": {"min_distance": float("inf")}})
    with pytest.raises(UserError, match=r"loop\.min_distance"):
        validated(config)


@pytest.mark.parametrize(
    "changes", [{"x" * 999: 1}, {"seed": "x" * 999}, {"seed": 10**999}, {"loop": "x" * 999}, {"preset": "x" * 999}]
)
def test_long_keys_and_values_are_cut_in_messages(changes):
    with pytest.raises(UserError) as error:
        validated(override(PAPER, changes))
    assert len(str(error.value)) < 500
    assert "..." in str(error.value)


def test_the_largest_integer_is_allowed():
    assert validated(override(PAPER, {"masks": {"min_area": 2**63 - 1}})).masks.min_area == 2**63 - 1


def test_every_number_of_the_configuration_has_a_range():
    for name, value in flatten(dataclasses.asdict(PAPER)).items():
        if type(value) in (int, float):
            *tables, key = name.split(".")
            changes = {key: type(value)(-5)}
            for table in reversed(tables):
                changes = {table: changes}
            with pytest.raises(UserError, match=re.escape(repr(name))):
                validated(override(PAPER, changes))


def _reversed_keys(value):
    if isinstance(value, dict):
        return {key: _reversed_keys(value[key]) for key in reversed(value)}
    return [_reversed_keys(item) for item in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=60)
@given(JSON)
def test_canonical_json_does_not_depend_on_the_order_of_keys(value):
    assert canonical_json(value) == canonical_json(_reversed_keys(value))
    assert content_hash(value) == content_hash(_reversed_keys(value))


def test_canonical_json_is_the_recorded_text():
    assert canonical_json({"b": [1, 2.5], "a": {"é": None, "x": True}}) == '{"a":{"x":true,"é":null},"b":[1,2.5]}'


def test_canonical_json_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_content_hash_is_the_recorded_one_in_any_process():
    # Recorded: a change of this constant makes every database that exists look like another run.
    assert content_hash({"b": 1, "a": [1, 2]}) == "f587f5091b5841a33f9e6dafdf1f5e45"
    code = "from schemas.canonical import content_hash; print(content_hash({'a': [1, 2], 'b': 1}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "f587f5091b5841a33f9e6dafdf1f5e45"


@pytest.mark.parametrize("key", [key for key, _ in flatten(dataclasses.asdict(PAPER)).items()])
def test_every_field_changes_the_hash(key):
    flat = flatten(dataclasses.asdict(PAPER))
    assert content_hash(flat) != content_hash(flat | {key: "another"})


def test_differences_are_one_line_for_each_key():
    old = {"seed": 0, "loop": {"keep": "all", "max_draws": 20}, "shards": [[1], [2]], "gone": 1}
    new = {"seed": 0, "loop": {"keep": "last", "max_draws": 20}, "shards": [[1]], "new": {"a": 1}}
    assert differences(old, new) == [
        "gone: 1 -> (absent)",
        'loop.keep: "all" -> "last"',
        "new.a: (absent) -> 1",
        "shards: [[1], [2]] -> [[1]]",
    ]
    assert differences(old, old) == []


def test_differences_tell_null_from_absent_and_cut_long_values():
    assert differences({"a": None}, {}) == ["a: null -> (absent)"]
    (line,) = differences({"a": "x" * 500}, {"a": "y"})
    assert len(line) < 120
    assert "..." in line


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_no_difference_means_equal_leaves(old, new):
    assert (differences(old, new) == []) == (flatten(old) == flatten(new))


@pytest.mark.parametrize("config", [ProposalsConfig(), EvaluationConfig()])
def test_a_gpu_has_larger_batches_unless_their_size_is_given(config):
    for device, objects in (("cpu", 8), ("cuda", 32), ("cuda:1", 32)):
        chosen = on_device(config, device)
        assert (chosen.predictor.device, chosen.batch.batch_objects) == (device, objects)
        given = on_device(override(config, {"batch": {"batch_objects": 5}}), device)
        assert given.batch.batch_objects == 5
    assert config.batch.objects == 8
