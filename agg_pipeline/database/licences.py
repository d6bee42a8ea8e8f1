"""Licences of combined data: which of them may not stand together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow.compute as pc

from agg_pipeline.database.image_licences import stated_licences
from agg_pipeline.database.licence_terms import LicenceText, read_licence
from agg_pipeline.database.reader import ProposalDatabase
from agg_pipeline.datasets.naming import UNKNOWN


def licences_of(database: ProposalDatabase) -> list[str]:
    """The licences of the data sets and of the single images of a database, each once, in alphabetical order."""
    texts = {run["dataset"]["licence"] for run in database.sources}
    for index in database.sidecars:
        texts.update(pc.unique(database.table("images", ["licence"], [index])["licence"]).to_pylist())
    return sorted({licence for text in texts for licence in stated_licences(text)} - {""})


def licence_notes(licences: Sequence[str]) -> list[str]:
    """What the user should know of the licences of a combined database; it is no advice of a lawyer.

    Args:
        licences: the licences, each once.
    """
    read = {licence: read_licence(licence) for licence in licences if licence != UNKNOWN}
    notes = []
    if UNKNOWN in licences:
        notes.append("the licence of some of the data is unknown; set it with agg database describe")
    for licence, text in read.items():
        if "nd" in text.terms:
            notes.append(f"the licence {licence!r} does not allow changed copies of its data to be shared")
        if "sa" in text.terms:
            notes += _share_alike(licence, read)
    strange = [licence for licence, text in read.items() if not text.known]
    if strange and len(licences) > 1:
        named = " and ".join(map(repr, (strange + [each for each in licences if each not in strange])[:2]))
        notes.append(f"whether {named} may stand together is not known here; read them")
    return notes


def _share_alike(licence: str, read: Mapping[str, LicenceText]) -> Iterator[str]:
    """Notes for a licence that asks that what is made with its data has the same licence."""
    mine = read[licence]
    others = [other for other, text in read.items() if text.terms != mine.terms]
    if others:
        yield (
            f"the licence {licence!r} asks that what is made with its data has the same licence, and {others[0]!r} is "
            "another one"
        )
    alike = [other for other, text in read.items() if text.terms == mine.terms]
    versions = [other for other in alike if read[other].version != mine.version]
    # Once for all versions of a licence.
    if versions and alike[0] == licence:
        yield (
            f"{licence!r} and {versions[0]!r} are versions of a licence that asks that what is made with its data has "
            "the same licence; read whether both allow the later one"
        )
