"""Options that are made from a configuration, and what overrides what."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import cloup
import pytest
from click.testing import CliRunner

from agg_pipeline.cli.config_options import (
    config_options,
    configured,
    default_text,
    read_toml,
    recipes,
    resolve,
    resolve_recipe,
)
from agg_pipeline.cli.option_groups import gathered, given, options_of
from agg_pipeline.cli.study import read_config
from docs.configuration import PAGE, page
from schemas import limits
from schemas.canonical import content_hash
from schemas.errors import UserError
from schemas.fields import choice, flag, keys_of, number, place, text
from schemas.presets import EVALUATION_PRESETS, PRESETS
from schemas.resolve import on_device, override
from schemas.training import FinetuneConfig, PretrainConfig
from tests.cli.every_command import LEAVES


@dataclass(frozen=True)
class Brush:
    """A table of the configuration below."""

    width: float = number(1.5, 0, 10, option=True, unit="pixels", help="Width of a line.")
    hidden: int = number(1, 0, help="Not on the command line.")
    low: float = number(0.25, 0, 1, option="limits", help="Lower limit.")
    high: float = number(0.75, 0, 1, option="limits", help="Upper limit.")


@dataclass(frozen=True)
class Painting:
    """A configuration."""

    strokes: int = number(3, 1, 9, option=True, help="Number of strokes.")
    colour: Literal["r", "g"] = choice("r", option=True, words=("red", "green"), help="Colour.")
    varnish: bool = flag(True, option=True, help="Varnish it.")
    title: str = text("none", option="name", unit="title", help="Its title.")
    device: str = place("cpu", help="Where.")
    brush: Brush = field(default_factory=Brush)


BOLD = Painting(strokes=9, brush=Brush(width=4))
PAINTINGS = {"fine": Painting(), "bold": BOLD}


@dataclass(frozen=True)
class Frame:
    """A group of options."""

    wood: str = given("--wood", default="oak", help="Wood.")
    carved: bool = given("--carved", is_flag=True, help="Carved.")


@cloup.command()
@cloup.option_group("Painting", *config_options(PAINTINGS, "strokes", "colour", "varnish", "title", "device", "brush"))
@cloup.option_group("Frame", *options_of(Frame))
@cloup.option("--copies", default=1)
@configured
@gathered(frame=Frame)
def paint(frame, copies, settings):
    print(frame, copies, settings)


def painted(*words):
    result = CliRunner().invoke(paint, [*words], env={"COLUMNS": "500"})
    return result.output.strip() if result.exit_code == 0 else result.output.strip().splitlines()[-1]


def test_options_come_from_the_fields():
    shown = " ".join(painted("--help").split())
    assert "--strokes NUMBER Number of strokes. [default: 3 for fine; 9 for bold; 1<=x<=9]" in shown
    assert "--colour [red|green] Colour. [default: red]" in shown
    assert "--varnish / --no-varnish Varnish it. [default: yes]" in shown
    assert "--name TITLE Its title. [default: none]" in shown
    assert "--device DEVICE Where. [default: cpu]" in shown
    assert "--width PIXELS Width of a line. [default: 1.5 for fine; 4 for bold; 0<=x<=10]" in shown
    assert (
        "--limits NUMBER Lower limit. Upper limit. The option sets both. [default: 0.25 (low); 0.75 (high); 0<=x<=1]"
        in shown
    )
    assert "hidden" not in shown


def test_only_what_was_given_reaches_the_command():
    assert painted() == "Frame(wood='oak', carved=False) 1 {}"
    given_words = ("--strokes", "3", "--no-varnish", "--name", "sea", "--limits", "0.5", "--carved", "--copies", "2")
    assert painted(*given_words) == (
        "Frame(wood='oak', carved=True) 2 {'strokes': 3, 'varnish': False, 'name': 'sea', 'limits': 0.5}"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--strokes", "10"), "'--strokes': 10 is not in the range 1<=x<=9"),
        (("--strokes", "1.5"), "'--strokes': '1.5' is not a valid integer"),
        (("--width", "nan"), "'--width': nan is not a finite number"),
        (("--width", "-1"), "'--width': -1.0 is not in the range 0<=x<=10"),
        (("--colour", "blue"), "'blue' is not one of 'red', 'green'"),
        (("--hidden", "1"), "No such option"),
    ],
)
def test_ranges_are_checked_at_the_option(words, said):
    assert said in painted(*words)


def test_file_overrides_preset_and_command_line_overrides_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('strokes = 5\ncolour = "g"\n[brush]\nwidth = 2\nlow = 0.1\n')
    made = resolve(PAINTINGS, "bold", path, {"strokes": 7, "limits": 0.5}, {"brush": {"hidden": 4}})
    assert made == Painting(7, "g", brush=Brush(2.0, 4, 0.5, 0.5))
    assert resolve(PAINTINGS, "bold", None, {}) == BOLD
    assert resolve(PAINTINGS, "fine", None, {"colour": "green"}) == Painting(colour="g")


def test_values_of_the_command_line_are_checked_with_all_others():
    with pytest.raises(UserError, match="'device' is 'tpu'; possible: auto, cpu, cuda, cuda:N"):
        resolve(PAINTINGS, "fine", None, {"device": "tpu"})
    with pytest.raises(ValueError, match="Painting has no option 'hidden'"):
        resolve(PAINTINGS, "fine", None, {"hidden": 2})


def test_a_preset_is_that_of_the_file_unless_another_is_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('preset = "released"\nseed = 3\n')
    assert resolve(PRESETS, None, path, {}).preset == "released"
    assert resolve(PRESETS, "parts", path, {}).loop.contrast == 8
    assert resolve(PRESETS, "parts", path, {}).seed == 3
    assert resolve(PRESETS, None, None, {}) == PRESETS["paper"]


def test_one_target_is_that_of_objects_and_parts():
    clicks = resolve(EVALUATION_PRESETS, None, None, {"target": 0.7}).clicks
    assert (clicks.object_target, clicks.part_target) == (0.7, 0.7)


def test_projections_are_named_with_a_comma_on_the_command_line():
    named = {"q,k": "qk", "q,v": "qv"}
    for words, value in named.items():
        config = resolve_recipe(FinetuneConfig(), "finetune", "paper", {"lora-targets": words})
        assert config.lora_targets == value


OPTIONS = {
    "proposals run": "batch-objects checkpoint class config contrast data dataset device dtype exclude-list flip "
    "gallery-images images-per-shard input-size limit-images max-reject-share out overwrite "
    "preset rounds scheduler seed skip-class split workers",
    "proposals annotate": "batch-objects checkpoint class config data dataset device dtype exclude-list flip "
    "gallery-images images-per-shard input-size limit-images max-reject-share out overwrite preset "
    "scheduler seed skip-class split workers",
    "eval run": "adapter batch-objects best-of carry-roi checkpoint class config curves data dataset device "
    "click-place dtype early-stop exclude-list flip granularity granularity-from images-per-shard input-size "
    "level limit-images limit-objects max-clicks max-reject-share out overwrite pictures "
    "preset sample scheduler seed skip-class split target threshold with-published workers",
    "eval adapted": "adapter batch-objects calibrate calibrate-split checkpoint class config data dataset "
    "device dtype exclude-list flip images-per-shard input-size limit-images max-clicks max-reject-share "
    "only out overwrite pictures sample scheduler seed skip-class split workers",
    "eval table": "format table",
    "eval compare": "format intersect out with-published",
    "finetune": "accumulate batch checkpoint checkpoint-minutes data device devices epochs granularity "
    "granularity-definition loaders look-minutes lora lora-targets lr max-minutes out overwrite "
    "precision proposals rank recipe resume sampling seed source threads validation-masks validation-minutes",
    "pretrain": "accumulate architecture batch checkpoint checkpoint-minutes data device devices epochs "
    "loaders look-minutes lr max-minutes out overwrite precision recipe resume seed size split "
    "threads validation-masks validation-minutes weight",
    "study": "checkpoint data out precision recipe report",
    "data inspect": "class exclude-list images out seed skip-class split",
    "data check": "split",
    "database stats": "limit-objects out parts seed",
    "adapter export": "checkpoint format overwrite",
    "adapter import": "overwrite",
}
"""Options that scripts rely on."""


@pytest.mark.parametrize("path", OPTIONS)
def test_options_that_scripts_rely_on_are_there(path):
    names = {name.removeprefix("--") for each in LEAVES[path].params for name in each.opts}
    assert not set(OPTIONS[path].split()) - names


# Recorded. A change of one of these makes every folder that was made with it look like another run.
HASHES = {
    "proposals": {
        "paper": "eb51acab075d4b20b94b6f2285193912",
        "parts": "541835854b125aae4ad0e9840ab226d9",
        "released": "d9f13c9d5fc5ece62f2fc022f9e4a24c",
    },
    "evaluation": {"paper": "72f52fad8d920984bd236b1f185a5bee", "released": "54cc059bae0d17a2361b37ee0f5b3016"},
    "finetune": {
        "demo": "a6a753391d9f5488a4c0044885c705c0",
        "paper": "d637410a6e3a50126ae9c4e1e78ea8fd",
        "study": "7b2c71d41585ea8864b19e2f7d461e98",
    },
    "pretrain": {"small-sets": "4a30eada80f5f1b0d28cdc8524427201"},
    "study": {"full": "5a16048eadaff0b7ca979b4c805dc31d", "small": "aeb8534f6e23b36eecfc262c051a620c"},
}


def on_cpu(config):
    """A configuration with what is chosen on a machine without a GPU."""
    if hasattr(config, "predictor"):
        return on_device(config, "cpu")
    if not hasattr(config, "training"):
        return config
    changes = {"precision": "32-true"} if isinstance(config, FinetuneConfig) else {}
    return override(config, {"training": {"device": "cpu", **changes}})


def test_configurations_have_the_recorded_hashes():
    found = {
        "proposals": PRESETS,
        "evaluation": EVALUATION_PRESETS,
        "finetune": recipes(FinetuneConfig(), "finetune"),
        "pretrain": recipes(PretrainConfig(), "pretrain"),
        "study": {name: read_config(name, {}) for name in ("full", "small")},
    }
    hashes = {
        kind: {name: content_hash(asdict(on_cpu(config))) for name, config in configs.items()}
        for kind, configs in found.items()
    }
    assert hashes == HASHES


def test_defaults_in_toml_are_written_as_in_toml():
    shown = {key.name: default_text(key, PAINTINGS, toml=True) for key in keys_of(Painting())}
    assert (shown["varnish"], shown["colour"], shown["strokes"]) == ("true", "r", "3 for fine; 9 for bold")


def test_the_reference_of_the_configuration_is_what_the_script_writes():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m docs.configuration"
    assert page().count("| `lr` |") == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_file_may_be_of_any_editor(tmp_path, encoding):
    path = tmp_path / "mine.toml"
    path.write_bytes("# caf\u00e9\r\n[loop]\r\nrounds = 1\r\n".encode(encoding))
    assert read_toml(path) == {"loop": {"rounds": 1}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = " + b"[" * 60_000, "is not TOML: it is nested too deep"),
        (b"a = " + b"1" * 5000, "holds a number of thousands of digits"),
        (b"a = '\xe9'", "is not TOML: 'utf-8' codec can't decode byte 0xe9"),
        (b"\xff\xfea", "is not TOML: 'utf-16-le' codec can't decode byte 0x61"),
        (b"a = 1\0", "is not TOML: "),
    ],
    ids=["deep", "digits", "Latin-1", "half a character", "NUL"],
)
def test_hostile_file_is_one_line(tmp_path, content, said):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_toml(path)
    assert str(error.value).startswith(f"configuration file {path} {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("digits", ["0x" + "f" * 5000, "0o" + "7" * 6000, "0b" + "1" * 20000])
@pytest.mark.parametrize("value", ["{}", "[{}]", "{{a = {}}}"])
def test_number_of_thousands_of_digits_that_are_not_decimal_is_one_line(tmp_path, digits, value):
    path = tmp_path / "mine.toml"
    path.write_text(f"seed = {value.format(digits)}\n")
    with pytest.raises(UserError, match=r"^configuration key 'seed' is a number of thousands of digits; "):
        resolve(PRESETS, None, path, {})


@pytest.mark.parametrize("key", ["preset", "predictor.dtype", "predictor.dtype.a", "clicks.sampler"])
def test_such_a_number_in_the_place_of_a_word_is_one_line(tmp_path, key):
    path = tmp_path / "mine.toml"
    path.write_text(f"{key} = 0x{'f' * 5000}\n")
    said = r"^(unknown preset|configuration key '\S+' is|unknown configuration key) "
    with pytest.raises(UserError, match=said) as error:
        resolve(PRESETS, None, path, {})
    assert len(str(error.value)) < 400


def test_what_is_no_file_or_too_large_is_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "large.toml").write_bytes(b"a" * (limits.CONFIG_BYTES + 1))
    for path, what in (
        (Path("/dev/zero"), "is a device"),
        (tmp_path / "pipe.toml", "is a pipe"),
        (tmp_path / "large.toml", "has 65,537 bytes; the limit of such files is 65,536"),
    ):
        with pytest.raises(UserError, match=f"^configuration file {path} {what}"):
            read_toml(path)
