"""Names of the files in a training's output folder."""

from __future__ import annotations

ADAPTER, MODEL = "adapter.safetensors", "model.safetensors"
"""The result: an adapter if LoRA was trained, a whole model if not."""
PLAN = "training.json"
"""Hashes of the inputs, and the configuration."""
CHECKPOINT = "checkpoint.pt"
STEPS, VALIDATION, TENSORBOARD = "steps.csv", "validation.csv", "tensorboard"
PICTURES, PAGE = "pictures", "training.html"
