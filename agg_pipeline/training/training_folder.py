"""The names of the files in a training's folder."""

ADAPTER, MODEL = "adapter.safetensors", "model.safetensors"
"""What was learnt: with LoRA an adapter, without it a whole model."""
PLAN = "training.json"
"""What a training is made of: the hashes of its inputs, and its configuration."""
CHECKPOINT = "checkpoint.pt"
STEPS, LOOKS, TENSORBOARD = "steps.csv", "validation.csv", "tensorboard"
PICTURES, PAGE = "pictures", "training.html"
