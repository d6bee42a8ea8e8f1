"""How the front matter of a card names licences."""

import pytest

from agg_pipeline.database.hub_licences import front_matter, hub_identifier


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("CC-BY-4.0", "cc-by-4.0"),
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("CC BY Share-Alike 4.0", "cc-by-sa-4.0"),
        ("CC BY-Non-Commercial-No-Derivatives 4", "cc-by-nc-nd-4.0"),
        ("Attribution 4.0 International (CC BY 4.0)", "cc-by-4.0"),
        ("CC BY NC SA 4.0", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution 4.0 International License", "cc-by-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivs 3.0 Unported", "cc-by-nc-nd-3.0"),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "cc-by-sa-4.0"),
        ("http://creativecommons.org/licenses/by-nc/4.0/legalcode.en", "cc-by-nc-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC0", "cc0-1.0"),
        ("CC0 1.0 Universal", "cc0-1.0"),
        ("MIT License", "mit"),
        ("Apache-2.0 (generated)", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("ODbL 1.0", "odbl"),
    ],
)
def test_known_licences(licence, identifier):
    assert hub_identifier(licence) == identifier
    assert front_matter([licence, identifier], []) == {"license": identifier}


@pytest.mark.parametrize(
    "licence",
    [
        *("research use", "Attribution License", "CC BY-SA 2.0", "CC BY 4.0 or MIT", "images: CC BY 4.0", "", "other"),
        "https://creativecommons.org/licenses/by/3.0/us/",
    ],
)
def test_licences_that_are_not_clearly_one_of_them(licence):
    assert hub_identifier(licence) is None
    assert front_matter([licence], [])["license"] == "other"


def test_names_and_links():
    homepage = "https://a.example"
    assert front_matter(["Research use (BSDS)"], [homepage]) == {
        "license": "other",
        "license_name": "research-use-bsds",
        "license_link": homepage,
    }
    assert front_matter(["???"], []) == {"license": "other", "license_name": "see-source-data"}
    assert len(front_matter(["x" * 1000], [])["license_name"]) == 60
    assert front_matter(["research use", "MIT"], [homepage, "https://b.example"]) == {
        "license": "other",
        "license_name": "see-source-data",
    }
    assert front_matter(["MIT", "CC0"], [homepage]) == {"license": ["mit", "cc0-1.0"]}
    assert front_matter(["unknown"], [homepage]) == {"license": "unknown"}
    assert front_matter(["unknown", "MIT"], [])["license"] == "other"
