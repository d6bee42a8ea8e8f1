"""What ``--dry-run`` prints, and that it writes nothing."""

import tomllib
from dataclasses import asdict

import pytest

from agg_pipeline.cli.dry_run import as_toml, run_lines, time_words
from agg_pipeline.execution.dry_run import Outlook
from agg_pipeline.execution.time_estimate import MaskCount, TimeEstimate
from schemas.presets import EVALUATION_PRESETS, PRESETS
from schemas.resolve import override, validated
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import printable_lines
from tests.cli.every_command import COMMANDS
from tests.e2e.commands import error_of, invoke

TIME = "# time: about "


@pytest.mark.parametrize("presets", [PRESETS, EVALUATION_PRESETS])
def test_what_is_printed_is_a_configuration_file_of_the_same_run(presets):
    for preset, config in presets.items():
        changed = validated(override(config, {"seed": 7, "predictor": {"flip": True}}))
        written = tomllib.loads(as_toml(asdict(changed)))
        assert written.pop("preset") == preset
        assert validated(override(config, written)) == changed


def test_a_text_that_is_not_printable_is_written_with_escapes():
    settings = {"data": "a\x1b[31m\x7f\x9b\u202eé"}
    written = as_toml(settings)
    assert printable_lines(written) == written
    assert tomllib.loads(written) == settings
    assert as_toml({"data": "é"}) == 'data = "é"\n'


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
    ("found", "masks", "said"),
    [
        (Outlook(3, 8, 0, 0), MaskCount(14, True), "to do: 14 masks in 8 images, 3 shards"),
        (
            Outlook(3, 8, 2, 7),
            MaskCount(1, True),
            "to resume: 1 mask in 1 image, 1 shard; finished: 7 images",
        ),
        (Outlook(3, 8, 0, 0), MaskCount(14, False), "to do: about 14 masks in 8 images, 3 shards"),
        (Outlook(3, 8, 3, 8), MaskCount(0, True), "nothing to do: all shards are finished"),
    ],
)
def test_what_would_be_done(toy_plan, found, masks, said):
    assert run_lines(toy_plan, found, masks) == [
        "toy, val: 8 of 8 images, 3 shards",
        f"model: toy at 32, sha256 {'0' * 16}",
        f"configuration hash: {toy_plan['config_hash']}",
        said,
    ]


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (None, "none"),
        (TimeEstimate(0, 0, 0, 0), "not estimated, because the Dask cluster has no worker now"),
        (
            TimeEstimate(2, 4.2, 70.0, 10),
            "about 1 min 14 s: 4 s to start with 2 workers, 1 min 10 s of work (measured on 10 images); "
            "tables and pages at the end come on top",
        ),
    ],
)
def test_the_time_in_words(estimate, words):
    assert time_words(estimate) == words


def comments_of(result):
    """The comments that a command prints; the other lines are TOML."""
    assert result.code == 0, result
    tomllib.loads(result.stdout)
    return [line for line in result.stdout.splitlines() if line.startswith("#")]


def only(comments, start):
    """The one comment that begins like this, without its beginning."""
    (line,) = (line for line in comments if line.startswith(start))
    return line.removeprefix(start)


def test_proposals(tmp_path):
    out = tmp_path / "out"
    few = ("--limit-images", "2", "--workers", "1", "--input-size", "64")
    comments = comments_of(invoke("proposals", "run", "--out", out, *few, "--dry-run"))
    assert "# to do: 4 masks in 2 images, 1 shard" in comments
    assert "to start with 1 worker, " in only(comments, TIME)
    assert not out.exists()


def test_an_evaluation_counts_the_masks_that_it_would_do(tmp_path):
    out = tmp_path / "out"
    few = ("--max-clicks", "1", "--workers", "1", "--input-size", "64", "--no-flip")
    command = ("eval", "run", "--out", out, *few, "--dry-run")
    comments = comments_of(invoke(*command, "--sample", "1"))
    assert "# reading 24 images to draw 1 mask per level" in comments
    assert only(comments, "# to do: 2 masks in 2 images, ") == "2 shards"
    assert "measured on " in only(comments, TIME)
    comments = comments_of(invoke(*command, "--limit-objects", "3", "--level", "object"))
    assert any(line.startswith("# to do: 3 masks in ") for line in comments)
    assert not out.exists()


def test_a_comparison_says_what_each_evaluation_would_do(tmp_path):
    out = tmp_path / "out"
    few = ("--sample", "1", "--max-clicks", "1", "--workers", "1", "--input-size", "64", "--no-flip")
    few += ("--only", "base", "--only", "by-class", "--calibrate", "1")
    comments = comments_of(invoke("eval", "adapted", "--out", out, *few, "--dry-run"))
    assert [line for line in comments if line.startswith("# [")] == [
        "# [1 of 2] base",
        "# [2 of 2] by-class: granularity per class, from parts of other images",
        "# [2 of 2] by-class",
    ]
    to_do = [line.partition(" in ")[0] for line in comments if line.startswith("# to do")]
    assert to_do == ["# to do: 2 masks", "# to do: 1 mask", "# to do: 1 mask"]
    assert len([line for line in comments if line.startswith(TIME)]) == 3
    only(comments, "# time of all evaluations: about ")
    assert not out.exists()


SMALL = "--limit-images 1 --workers 1 --input-size 64 --no-flip"
EVERY = {
    "proposals run": SMALL,
    "proposals annotate": SMALL,
    "eval run": f"{SMALL} --max-clicks 1",
    # The split is that of --calibrate, so that by-class is left out.
    "eval adapted": f"{SMALL} --split train --max-clicks 1",
    "finetune": "--proposals {proposals} --data {data} --recipe demo --batch 2 --loaders 0 --size 32",
    "pretrain": "--data demo:2 --recipe small-sets --size 32 --batch 2 --epochs 1 --loaders 0 --validation-masks 0",
    "study": "--recipe small --report {out}.md",
}
"""Arguments of every command that has a dry run."""


def test_the_commands_with_a_dry_run():
    found = {path for path, command in COMMANDS.items() if any(one.name == "dry_run" for one in command.params)}
    assert found == set(EVERY)


@pytest.mark.parametrize("path", EVERY)
def test_every_dry_run_prints_toml(path, proposals, data, tmp_path):
    words = EVERY[path].format(proposals=proposals, data=data, out=tmp_path / "out").split()
    result = invoke(*path.split(), "--out", tmp_path / "out", *words, "--dry-run")
    assert len(comments_of(result)) > 1
    assert len(tomllib.loads(result.stdout)) > 3
    left_out = "# by-class is left out, because it needs other images: split train is evaluated; name another split"
    assert (left_out in result.stdout) == (path == "eval adapted")
    assert not (tmp_path / "out").exists()


QUICK = ("--batch", "2", "--threads", "1", "--loaders", "0", "--size", "32")


def test_a_training_says_its_steps_and_its_time(proposals, data, tmp_path):
    out, database = tmp_path / "out", proposals / "database"
    sampling = database / "sampling.parquet"
    kept = sampling.read_bytes()
    sampling.unlink()
    before = {path: path.stat().st_mtime_ns for path in database.rglob("*")}
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", "demo", *QUICK)
    try:
        result = invoke(*command, "--epochs", "3", "--dry-run")
        assert {path: path.stat().st_mtime_ns for path in database.rglob("*")} == before
    finally:
        sampling.write_bytes(kept)
    comments = comments_of(result)
    assert "# data: folder, all" in comments
    assert "# steps: 9 in 3 epochs of 3 steps, 2 samples each" in comments
    assert "# validation: 0 masks, 0 times" in comments
    assert " s per step), 0 s of validation" in only(comments, TIME)
    assert comments[-1] == "# nothing was written"
    assert not out.exists()
    written = tomllib.loads(result.stdout)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(result.stdout)
    assert written["training"]["epochs"] == 3
    again = invoke(*command[:6], out, "--recipe", recipe, "--dry-run")
    assert again.code == 0, again
    assert tomllib.loads(again.stdout) == written | {"recipe": "recipe"}


def test_a_training_that_is_there_is_resumed_or_refused_as_it_would_be(proposals, data, tmp_path):
    out = tmp_path / "out"
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", "demo", *QUICK)
    assert invoke(*command, "--epochs", "2", "--max-minutes", "0").code == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert "holds a training; use --resume" in error_of(invoke(*command, "--epochs", "2", "--dry-run"))
    comments = comments_of(invoke(*command, "--epochs", "2", "--dry-run", "--resume"))
    assert "# steps: 6 in 2 epochs of 3 steps, 2 samples each; 1 done" in comments
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_pre_training(tmp_path):
    recipe = tmp_path / "tiny.toml"
    training = "[training]\nepochs = 2\nbatch = 2\nloaders = 0\n"
    recipe.write_text(f'epoch = 4\n{training}[augment]\nsize = 32\nview = "zoom"\n')
    out = tmp_path / "out"
    few = ("--data", "demo:2", "--recipe", recipe, "--validation-masks", "1")
    comments = comments_of(invoke("pretrain", "--out", out, *few, "--dry-run"))
    assert "# steps: 4 in 2 epochs of 2 steps, 2 samples each" in comments
    assert "# validation: 1 mask, 2 times" in comments
    only(comments, TIME)
    assert not out.exists()


@pytest.mark.parametrize("config", [FinetuneConfig(), PretrainConfig()])
def test_what_is_printed_is_a_recipe_of_the_same_training(config):
    assert validated(override(type(config)(), tomllib.loads(as_toml(asdict(config))))) == config
