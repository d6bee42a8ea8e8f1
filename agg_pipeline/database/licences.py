"""Licences of combined data: which of them may not stand together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow.compute as pc

from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.naming import UNKNOWN

WORDS = {"noncommercial": "nc", "noderivs": "nd", "noderivatives": "nd", "sharealike": "sa"}
TERM = rf"(?:nc|nd|sa|{'|'.join(WORDS)})"
CREATIVE_COMMONS = re.compile(
    rf"(?:\bcc[- ]by|creativecommons\.org/licenses/by|\battribution)((?:[- ]{TERM})*)(?![a-z])", re.IGNORECASE
)
PERMISSIVE = re.compile(r"\b(cc0|public domain|mit|apache|bsd)", re.IGNORECASE)


def licences_of(database: ProposalDatabase) -> list[str]:
    """The licences of the data sets and of the single images of a database, each once."""
    found = dict.fromkeys(run["dataset"]["licence"] for run in database.sources)
    for index in database.sidecars:
        found |= dict.fromkeys(pc.unique(database.table("images", ["licence"], [index])["licence"]).to_pylist())
    return [licence for licence in found if licence]


def licence_notes(licences: Sequence[str]) -> list[str]:
    """What the user should know of the licences of a combined database; it is no advice of a lawyer.

    Args:
        licences: the licences, each once.
    """
    terms = {licence: _terms(licence) for licence in licences}
    notes = []
    for licence, of in terms.items():
        if licence == UNKNOWN:
            notes.append("the licence of some of the data is unknown; set it with agg database describe")
        if "nd" in (of or ()):
            notes.append(f"the licence {licence!r} does not allow changed copies of its data to be shared")
        others = [other for other in licences if terms[other] != of and other != UNKNOWN]
        if "sa" in (of or ()) and others:
            notes.append(
                f"the licence {licence!r} asks that what is made with its data has the same licence, and "
                f"{others[0]!r} is another one"
            )
    strange = [licence for licence, of in terms.items() if of is None and licence != UNKNOWN]
    if strange and len(licences) > 1:
        named = " and ".join(map(repr, (strange + [each for each in licences if each not in strange])[:2]))
        notes.append(f"whether {named} may stand together is not known here; read them")
    return notes


def _terms(licence: str) -> frozenset[str] | None:
    """Which of nc, nd and sa a licence asks for; None if it is not known here."""
    found = CREATIVE_COMMONS.search(licence)
    if found is None:
        return frozenset() if PERMISSIVE.search(licence) else None
    return frozenset(WORDS.get(word, word) for word in found[1].lower().replace("-", " ").split())
