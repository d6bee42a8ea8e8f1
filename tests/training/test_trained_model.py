"""The model that a training starts from, beside the model that a database was made with."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from agg_pipeline.models.checkpoints import CheckpointInfo, default_checkpoint, load_click_model
from agg_pipeline.storage.store import Store
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.trained_model import base_model_notes, load_base_model
from schemas.errors import UserError
from tests.training.conftest import Steps

OURS = CheckpointInfo("xtiny", 224, "a" * 64)


def database(architecture, sha256):
    sources = [{"model": {"architecture": architecture, "sha256": sha256}}]
    return SimpleNamespace(store=Store("/runs/db"), sources=sources)


def test_no_checkpoint_is_the_built_in_model():
    _, info = load_base_model("", 64)
    _, expected = load_click_model(default_checkpoint(), 64)
    assert info == expected


def test_the_same_model_needs_no_note():
    for checkpoint in ("", "/models/ours.safetensors"):
        assert base_model_notes([database("xtiny", "a" * 64)], checkpoint, OURS) == []


def test_another_model_is_named():
    databases = [database("xtiny", "a" * 64), database("base", "b" * 64)]
    assert base_model_notes(databases, "", OURS) == [
        "/runs/db was made with another model, base (sha256 bbbbbbbbbbbb): this training starts from the built-in "
        "xtiny (sha256 aaaaaaaaaaaa); to fine-tune the database's own model, give its file with --checkpoint"
    ]
    assert base_model_notes(databases, "/models/mine.pth", replace(OURS, sha256="c" * 64)) == [
        f"/runs/db was made with another model, {name} (sha256 {letter * 12}): this training starts from "
        "/models/mine.pth (sha256 cccccccccccc)"
        for name, letter in (("xtiny", "a"), ("base", "b"))
    ]


def test_all_models_of_a_combined_database_are_named():
    combined = database("xtiny", "a" * 64)
    combined.sources += [*database("base", "b" * 64).sources, *database("base", "b" * 64).sources]
    (note,) = base_model_notes([combined], "", OURS)
    assert note.startswith("/runs/db was made with another model, base (sha256 bbbbbbbbbbbb): this training starts")


def test_a_model_that_follows_granularity_is_refused(prepared):
    _, path = train_and_save(prepared(changes={"lora": False, "training": {"epochs": 1}}), Steps())
    with pytest.raises(UserError, match="holds a granularity table; training starts from a click model without one"):
        load_base_model(str(path), 32)
