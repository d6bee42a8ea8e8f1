"""What is said of the licences of merged databases."""

import pytest

from agg_pipeline.database.licences import licence_notes, licences_of
from agg_pipeline.database.reader import open_proposals
from tests.toy_run import make_database

BY_SA = "https://creativecommons.org/licenses/by-sa/4.0/"
ND = "the licence {!r} does not allow changed copies of its data to be shared"
SA = "the licence {!r} asks that what is made with its data has the same licence, and {!r} is another one"
UNKNOWN = "the licence of some of the data is unknown; agg database describe names it"


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
        (
            ["GPL-3.0", "research use only"],
            ["whether 'GPL-3.0' and 'research use only' may stand together is not known here; read them"],
        ),
    ],
)
def test_notes(licences, notes):
    assert licence_notes(licences) == notes


def test_licences_of_single_images_count(tmp_path):
    assert licences_of(open_proposals(make_database(tmp_path).url)) == ["a licence", "none"]
