"""What ``--dry-run`` prints."""

import tomllib

import pytest

from agg_pipeline.cli.dry_run import as_toml, dry_run_text
from agg_pipeline.execution.dry_run import Outlook
from schemas.config import EVALUATION_PRESETS, PRESETS
from schemas.resolve import override, validated


@pytest.mark.parametrize("presets", [PRESETS, EVALUATION_PRESETS])
def test_what_is_printed_is_a_configuration_file_of_the_same_run(presets, toy_plan):
    for preset, config in presets.items():
        changed = validated(override(config, {"seed": 7, "predictor": {"flip": True}}))
        text = dry_run_text(changed, toy_plan, Outlook(1, 1, 0, 0), 8, "about 3 s")
        written = tomllib.loads(text)
        assert written.pop("preset") == preset
        assert validated(override(config, written)) == changed


def test_values_of_every_kind():
    settings = {
        "text": 'a "b" ä',
        "number": 5e-05,
        "flag": True,
        "list": (("x", 0.5),),
        "none": None,
        "in": {"deep": {"x": 1}},
    }
    assert tomllib.loads(as_toml(settings)) == {
        "text": 'a "b" ä',
        "number": 5e-05,
        "flag": True,
        "list": [["x", 0.5]],
        "in": {"deep": {"x": 1}},
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Outlook(3, 8, 0, 0), "to do: 8 images in 3 shards"),
        (Outlook(3, 8, 1, 3), "to resume: 5 images in 2 shards; 3 images in 1 shards are finished"),
        (Outlook(3, 8, 3, 8), "nothing to do: all shards are finished"),
    ],
)
def test_what_would_be_done(toy_plan, found, said):
    comments = [
        line
        for line in dry_run_text(PRESETS["paper"], toy_plan, found, 8, "about 3 s").splitlines()
        if line.startswith("#")
    ]
    assert comments == [
        "# toy, val: 8 of 8 images, 3 shards",
        f"# model: toy at 32, sha256 {'0' * 16}",
        f"# configuration hash: {toy_plan['config_hash']}",
        f"# {said}",
        "# time: about 3 s",
        "# batches: at most 8 objects each; their number is known once the masks are read",
        "# nothing was written",
    ]
