"""Imported masks in the commands that combine and check databases."""

import numpy as np
import pyarrow as pa
import pytest

from agg_pipeline.database.derived import Piece, derived_plan, pieces, source_runs, write_derived
from agg_pipeline.database.exchange.released_import import import_released
from agg_pipeline.database.exchange.released_pickle import export_released
from agg_pipeline.database.merging import merge
from agg_pipeline.database.reader import open_proposals
from agg_pipeline.database.recomputing import recompute
from agg_pipeline.database.selecting import filter_database
from agg_pipeline.database.validation import validate
from schemas.errors import UserError


@pytest.fixture
def imported(database, toy_dataset, tmp_path):
    export_released(database, tmp_path / "x.pkl")
    return import_released(tmp_path / "x.pkl", toy_dataset, str(tmp_path / "imported"))


def test_they_can_be_merged_with_ours(database, imported, tmp_path):
    merged = merge([database, imported], str(tmp_path / "merged"), duplicates="keep")
    assert list(validate(open_proposals(merged.store.url))) == []
    assert ["imported" in source for source in merged.sources] == [False, True]
    sources = merged.proposals(["source"])["source"].to_numpy()
    parts = sum(kind != "object" for kind in imported.proposals(["kind"])["kind"].to_pylist())
    assert np.count_nonzero(sources) == parts, "the objects are the same"


def test_granularities_cannot_be_computed_without_peaks(imported, tmp_path):
    with pytest.raises(UserError, match="masks of another program, which gave no peaks; leave them out"):
        recompute(imported, str(tmp_path / "made"), 0.3)
    with pytest.raises(UserError, match="no mask"):
        filter_database(imported, str(tmp_path / "none"), "peak_proposal is not null")


def rewritten(database, out, column, value):
    """The database with another value in a column of its second row."""

    def changed():
        for piece in pieces(database):
            table = piece.tables["proposals"]
            values = table[column].to_pylist()
            values[1] = value
            place = table.schema.get_field_index(column)
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.array(values, field.type))
            yield Piece(piece.images, {**piece.tables, "proposals": table})

    plan = derived_plan([database], source_runs(database), "filter", {})
    return open_proposals(write_derived(str(out), plan, changed()).store.url)


def test_their_bins_are_checked(imported, tmp_path, monkeypatch):
    # What finishes a database refuses such rows at once; another program may not.
    monkeypatch.setattr("agg_pipeline.database.derived.finish", lambda *_: None)
    found = [finding.what for finding in validate(rewritten(imported, tmp_path / "made", "bin", 10))]
    assert any(what.startswith("bin is 10, the granularity gives ") for what in found)


def test_ours_still_need_peaks_and_clicks(database, tmp_path):
    for column, problem in (("peak_object", "peaks or click are missing"), ("clicks", "clicks are not one positive")):
        findings = list(validate(rewritten(database, tmp_path / column, column, None)))
        assert findings
        assert all(problem in finding.what for finding in findings)
