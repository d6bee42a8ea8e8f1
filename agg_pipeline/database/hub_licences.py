"""Licences as the front matter of a card on the Hugging Face Hub names them.

https://huggingface.co/docs/hub/repositories-licenses lists the identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agg_pipeline.database.licence_terms import read_licence
from agg_pipeline.datasets.naming import UNKNOWN
from schemas.canonical import Json

IDENTIFIERS = frozenset(
    (
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "odc-by", "odbl", "pddl", "c-uda"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
        *("cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "etalab-2.0"),
    )
)
"""Identifiers of licences of data."""
ALIASES = {"cc0": "cc0-1.0", "odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}
SEVERAL = "see-source-data"
"""Name of several licences."""
NAME_LENGTH = 60


def hub_identifier(licence: str) -> str | None:
    """The identifier of a licence on the Hub; None if it is not clearly one of those."""
    name = read_licence(licence).name
    name = ALIASES.get(name, name)
    return name if name in IDENTIFIERS else None


def front_matter(licences: Sequence[str], homepages: Sequence[str]) -> Json:
    """The keys of the front matter that are about licences.

    Args:
        licences: the licences of the data sets and images, each once.
        homepages: addresses of the publishers of the data.
    """
    if list(licences) == [UNKNOWN]:
        return {"license": "unknown"}
    found = dict.fromkeys(map(hub_identifier, licences))
    if None not in found:
        return {"license": next(iter(found)) if len(found) == 1 else list(found)}
    name = re.sub(r"[^a-z0-9.]+", "-", licences[0].lower())[:NAME_LENGTH].strip("-.") if len(licences) == 1 else SEVERAL
    link = {"license_link": homepages[0]} if len(homepages) == 1 else {}
    return {"license": "other", "license_name": name or SEVERAL, **link}
