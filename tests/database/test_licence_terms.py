"""How the text of a licence is read."""

import pytest

from agg_pipeline.database.licence_terms import read_licence


@pytest.mark.parametrize(
    ("text", "terms", "version"),
    [
        ("CC BY 4.0", "by", "4.0"),
        ("cc-by-4.0", "by", "4.0"),
        ("CC_BY_4.0", "by", "4.0"),
        ("CCBY 4.0", "by", "4.0"),
        ("CC-BY4.0", "by", "4.0"),
        ("CC BY v4.0", "by", "4.0"),
        ("CC BY 4", "by", "4.0"),
        ("CC BY 4.0.", "by", "4.0"),
        ("CC BY", "by", ""),
        ("CC BY 2.0 Generic", "by", "2.0"),
        ("Attribution License", "by", ""),
        ("Creative Commons Attribution 4.0 International License", "by", "4.0"),
        ("Creative Commons Attribution 4.0 International Public License", "by", "4.0"),
        ("Attribution 4.0 International (CC BY 4.0)", "by", "4.0"),
        ("the Creative Commons (CC) Attribution Licence, version 3.0", "by", "3.0"),
        ("http://creativecommons.org/licenses/by/2.0/", "by", "2.0"),
        ("CC BY-SA 4.0", "by sa", "4.0"),
        ("CC BY SA 4.0", "by sa", "4.0"),
        ("CC BY/SA 4.0", "by sa", "4.0"),
        ("cc by-sa 2.0", "by sa", "2.0"),
        ("CC BY\u2011SA 4.0", "by sa", "4.0"),
        ("CC BY Share-Alike 4.0", "by sa", "4.0"),
        ("CC BY Share Alike 4.0", "by sa", "4.0"),
        ("CC BY ShareAlike 4.0", "by sa", "4.0"),
        ("CC BY 4.0 Share-Alike", "by sa", "4.0"),
        ("Attribution-ShareAlike License", "by sa", ""),
        ("Attribution Share-Alike 3.0 Unported", "by sa", "3.0"),
        ("Creative Commons Attribution-Share Alike 3.0", "by sa", "3.0"),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "by sa", "4.0"),
        ("creativecommons.org/licenses/by-sa/4.0", "by sa", "4.0"),
        ("https://www.creativecommons.org/licenses/by-sa/4.0/deed.de", "by sa", "4.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/legalcode.en", "by nc", "4.0"),
        ("CC BY-NC 4.0", "by nc", "4.0"),
        ("CC BY Non-Commercial 4.0", "by nc", "4.0"),
        ("CC BY (non commercial) 4.0", "by nc", "4.0"),
        ("Attribution-NonCommercial License", "by nc", ""),
        ("CC BY-ND 4.0", "by nd", "4.0"),
        ("CC BY No Derivatives", "by nd", ""),
        ("CC BY, no derivs", "by nd", ""),
        ("CC BY No Derivative Works 3.0", "by nd", "3.0"),
        ("Attribution-NoDerivs License", "by nd", ""),
        ("CC-BY-NC-ND-4.0", "by nc nd", "4.0"),
        ("CC BY-ND-NC 1.0", "by nc nd", "1.0"),
        ("CC BY-Non-Commercial-No-Derivs", "by nc nd", ""),
        ("Attribution-NonCommercial-NoDerivs License", "by nc nd", ""),
        ("Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)", "by nc nd", "4.0"),
        ("CC BY NC SA 4.0", "by nc sa", "4.0"),
        ("Attribution-NonCommercial-ShareAlike License", "by nc sa", ""),
    ],
)
def test_licences_of_creative_commons(text, terms, version):
    for spelled in (text, text.upper(), text.lower(), f"  {text} "):
        found = read_licence(spelled)
        assert (found.terms, found.version, found.known) == (frozenset(terms.split()), version, True)
    name = ["cc", *(term for term in ("by", "nc", "nd", "sa") if term in terms.split()), *filter(None, [version])]
    assert found.name == "-".join(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CC0", "cc0"),
        ("CC0-1.0", "cc0-1.0"),
        ("CC Zero 1.0", "cc0-1.0"),
        ("Creative Commons Zero v1.0 Universal", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("Public Domain", "public-domain"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain-mark-1.0"),
        ("MIT License", "mit"),
        ("The MIT License", "mit"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("Apache-2.0 (generated)", "apache-2.0"),
        ("BSD 3-Clause", "bsd-3-clause"),
        ("MIT or Apache-2.0", "mit-or-apache-2.0"),
    ],
)
def test_licences_that_ask_for_nothing_that_matters_here(text, name):
    found = read_licence(text)
    assert (found.name, found.terms, found.known) == (name, frozenset(), True)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ""),
        ("unknown", ""),
        ("research use", ""),
        ("photographs by SA, NC", ""),
        ("Creative Commons", ""),
        ("GPL-3.0", ""),
        ("ODbL 1.0", ""),
        ("images: ImageNet terms (non-commercial research); annotations: Apache-2.0", ""),
        ("images: Flickr terms of use, see each image; annotations: CC BY 4.0", "by"),
        ("CC BY 4.0 or MIT", "by"),
        ("CC BY-SA 3.0+", "by sa"),
        ("CC BY-SA 3.0 US", "by sa"),
        ("http://creativecommons.org/licenses/by-nd/3.0/us/", "by nd"),
        ("CC BY 4.0, CC BY-NC 4.0", "by nc"),
        ("CC BY 2.0 / CC BY 4.0", "by"),
        ("images: CC BY-SA 4.0; annotations: CC BY 4.0", "by sa"),
    ],
)
def test_texts_that_say_more_or_less_than_one_known_licence(text, terms):
    found = read_licence(text)
    assert (found.terms, found.known) == (frozenset(terms.split()), False)
