"""What is said of the licences of merged databases, and of those of single images."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from agg_pipeline.database.describing import describe
from agg_pipeline.database.image_licences import image_licences
from agg_pipeline.database.licences import licence_notes, licences_of
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.datasets.naming import Naming
from tests.database.changed_rows import changed
from tests.toy_run import make_database

BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"
ND = "the licence {!r} does not allow changed copies of its data to be shared"
SA = "the licence {!r} asks that what is made with its data has the same licence, and {!r} is another one"
VERSIONS = (
    "{!r} and {!r} are versions of a licence that asks that what is made with its data has the same licence; read "
    "whether both allow the later one"
)
STRANGE = "whether {!r} and {!r} may stand together is not known here; read them"
UNKNOWN = "the licence of some of the data is unknown; set it with agg database describe"


@pytest.mark.parametrize(
    ("licences", "notes"),
    [
        (["CC BY 4.0", "CC0-1.0"], []),
        (["CC BY-ND 4.0"], [ND.format("CC BY-ND 4.0")]),
        (["CC BY NC ND 2.0", "MIT"], [ND.format("CC BY NC ND 2.0")]),
        ([BY_SA, "CC BY 4.0"], [SA.format(BY_SA, "CC BY 4.0")]),
        ([BY_SA, "CC-BY-SA-4.0"], []),
        (
            ["Attribution-NonCommercial-ShareAlike License", BY_SA],
            [
                SA.format("Attribution-NonCommercial-ShareAlike License", BY_SA),
                SA.format(BY_SA, "Attribution-NonCommercial-ShareAlike License"),
            ],
        ),
        (["Attribution-NonCommercial-NoDerivs License"], [ND.format("Attribution-NonCommercial-NoDerivs License")]),
        (["unknown", "CC BY 4.0"], [UNKNOWN]),
        (["CC BY Share-Alike 4.0", "MIT"], [SA.format("CC BY Share-Alike 4.0", "MIT")]),
        (["CC BY No Derivatives", "MIT"], [ND.format("CC BY No Derivatives")]),
        (["CC BY-Non-Commercial-No-Derivs"], [ND.format("CC BY-Non-Commercial-No-Derivs")]),
        (["CC BY-SA 2.0", "CC BY Share-Alike 2.0", "CC BY-SA 4.0"], [VERSIONS.format("CC BY-SA 2.0", "CC BY-SA 4.0")]),
        (["CC BY-SA", "CC BY-SA 4.0"], [VERSIONS.format("CC BY-SA", "CC BY-SA 4.0")]),
        (["CC BY-NC 2.0", "CC BY-NC 4.0"], []),
        (["Apache-2.0 (generated)", "Apache-2.0"], []),
        (
            ["MIT", "images: ImageNet terms (non-commercial research); annotations: Apache-2.0"],
            [STRANGE.format("images: ImageNet terms (non-commercial research); annotations: Apache-2.0", "MIT")],
        ),
        (
            ["GPL-3.0", "research use only"],
            [STRANGE.format("GPL-3.0", "research use only")],
        ),
    ],
)
def test_notes(licences, notes):
    assert licence_notes(licences) == notes


def test_licences_of_single_images_count(tmp_path):
    assert licences_of(open_proposals(make_database(tmp_path).url)) == ["a licence", "none"]


def said_of(database):
    """Front matter and lines of the card, licence in croissant.json, licences of images in the manifest."""
    root = Path(database.store.url)
    _, front, text = (root / "README.md").read_text().split("---\n", 2)
    manifest = json.loads((root / "manifest.json").read_text())
    croissant = json.loads((root / "croissant.json").read_text())
    keys = {key: value for key, value in yaml.safe_load(front).items() if key.startswith("license")}
    lines = [line for line in text.splitlines() if line.startswith(("| licence of", "| licences of"))]
    return keys, lines, croissant["license"], manifest.get("image_licences")


def test_licences_of_images_are_listed_where_those_of_the_data_are_others(tmp_path):
    whole = open_proposals(make_database(tmp_path / "whole").url)
    unknown = describe(whole, str(tmp_path / "unknown"), Naming(licence="unknown"))
    licences = {"im_0": "CC BY 4.0", "im_1": "CC BY 4.0", "im_2": "unknown"}
    licensed = changed(
        unknown, str(tmp_path / "x"), "images", lambda row: row | {"licence": licences.get(row["image_id"], "MIT | x")}
    )
    assert list(validate(licensed)) == []
    assert said_of(licensed) == (
        {"license": "other", "license_name": "see-source-data"},
        [
            "| licence of the data | unknown; ask the publisher of this database |",
            "| licences of the images | MIT \\| x (4 images); CC BY 4.0 (2 images); unknown (1 image) |",
        ],
        ["unknown", "MIT | x", "CC BY 4.0"],
        {"counts": {"MIT | x": 4, "CC BY 4.0": 2, "unknown": 1}, "others": 0},
    )
    manifest = licensed.store.read_json("manifest.json")
    licensed.store.write_json("manifest.json", manifest | {"image_licences": {"counts": {}, "others": 7}})
    assert [finding.what for finding in validate(licensed)] == ["does not say the licences of the images"]
    del manifest["image_licences"]
    licensed.store.write_json("manifest.json", manifest)
    assert list(validate(licensed)) == [], "as of earlier versions"


def test_licences_of_images_are_not_listed_where_they_are_that_of_the_data(tmp_path):
    whole = open_proposals(make_database(tmp_path / "whole").url)
    named = describe(whole, str(tmp_path / "named"), Naming(licence="CC BY 4.0"))
    same = changed(named, str(tmp_path / "same"), "images", lambda row: row | {"licence": "CC BY 4.0"})
    keys, lines, croissant, listed = said_of(same)
    assert keys == {"license": "cc-by-4.0"}
    assert (lines, croissant, listed) == (["| licence of the data | CC BY 4.0 |"], "CC BY 4.0", None)


def test_the_most_frequent_licences_are_listed():
    sources = [{"dataset": {"licence": "x"}}]
    counts = Counter({(0, f"l{number:02}"): number + 1 for number in range(25)} | {(0, ""): 100})
    (found,) = image_licences(counts, sources).values()
    assert list(found["counts"].items())[:2] == [("x", 100), ("l24", 25)]
    assert (len(found["counts"]), found["others"]) == (20, sum(range(1, 7)))
    assert image_licences(Counter({(0, ""): 1, (0, "x"): 2}), sources) == {}


@pytest.fixture(scope="module")
def stating(tmp_path_factory):
    """Makes databases of the same images, which state other licences for them."""
    root = tmp_path_factory.mktemp("stating")
    whole = open_proposals(make_database(root / "whole").url)

    def made(name, of_data, of_images):
        described = describe(whole, str(root / f"{name}-described"), Naming(licence=of_data))
        return changed(described, str(root / name), "images", lambda row: row | {"licence": of_images(row["image_id"])})

    return made


def test_an_image_has_all_licences_that_databases_state_for_it_in_whatever_order(stating, tmp_path):
    strict = "Attribution-NonCommercial-NoDerivs License"
    single = stating("single", "unknown", lambda image: {"im_0": strict, "im_1": "CC BY 4.0"}.get(image, "unknown"))
    general = stating("general", "CC BY 4.0", lambda image: "" if image == "im_0" else "CC BY 4.0")
    both = f"{strict} AND CC BY 4.0"
    for name, order in (("sg", [single, general]), ("gs", [general, single]), ("sgs", [single, general, single])):
        merged = merge(order, str(tmp_path / name))
        assert list(validate(merged)) == []
        found = {row["image_id"]: row["licence"] for row in merged.images().to_pylist()}
        assert found == {image: both if image == "im_0" else "CC BY 4.0" for image in found}
        assert licences_of(merged) == [strict, "CC BY 4.0", "unknown"]
        assert licence_notes(licences_of(merged)) == [UNKNOWN, ND.format(strict)]
        _, lines, croissant, listed = said_of(merged)
        assert listed == {"counts": {"CC BY 4.0": 6, both: 1}, "others": 0}
        assert lines[1] == f"| licences of the images | CC BY 4.0 (6 images); {both} (1 image) |"
        assert both in croissant
        again = merge([merged, *order], str(tmp_path / f"{name}-again"))
        assert again.images().equals(merged.images())


def test_databases_that_state_the_same_licence_keep_their_rows(stating, tmp_path):
    first = stating("first", "MIT", lambda image: "" if image == "im_0" else "MIT")
    second = stating("second", "CC0", lambda _image: "MIT")
    assert merge([first, second], str(tmp_path / "merged")).images().equals(first.images())
    unknown = stating("nothing", "unknown", lambda _image: "unknown")
    assert merge([unknown, unknown], str(tmp_path / "unknown")).images().equals(unknown.images())


def test_the_licence_of_the_data_is_described_anew_where_an_image_has_two(stating, tmp_path):
    first = stating("a", "MIT", lambda _image: "MIT")
    second = stating("b", "CC0", lambda _image: "CC0")
    merged = merge([first, second], str(tmp_path / "merged"))
    for number, expected in ((0, "CC BY 4.0 AND CC0"), (1, "CC BY 4.0 AND MIT")):
        made = describe(merged, str(tmp_path / str(number)), Naming(licence="CC BY 4.0"), number)
        assert set(made.images()["licence"].to_pylist()) == {expected}
        assert list(validate(made)) == []


def test_the_front_matter_names_each_licence_of_an_image_with_two(stating, tmp_path):
    first = stating("c", "MIT", lambda _image: "MIT")
    second = stating("d", "CC0", lambda _image: "CC0")
    keys, *_ = said_of(merge([first, second], str(tmp_path / "merged")))
    assert keys == {"license": ["mit", "cc0-1.0"]}
