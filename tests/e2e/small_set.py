"""A small set in SBD's layout, made of plain shapes."""

import numpy as np
from PIL import Image
from scipy.io import savemat

HEIGHT, WIDTH = 60, 80
SIZES = ("--dataset", "sbd", "--input-size", "64", "--images-per-shard", "1", "--batch-objects", "2")
QUICK = ("--workers", "1", "--gallery-images", "0")


def labels(shift=0):
    """(HEIGHT, WIDTH) instance map of two rectangles."""
    frame = np.zeros((HEIGHT, WIDTH), np.uint8)
    frame[10:40, 4 + shift : 40 + shift] = 1
    frame[34:57, 46 + shift : 74 + shift] = 2
    return frame


def pixels(instances):
    """(H, W, 3) uint8: a grey of its own for every instance, and some texture."""
    rows, cols = np.indices(instances.shape)
    grey = 40 + 60 * np.minimum(instances, 3) + 5 * (rows // 8 % 2) + 9 * (cols // 12 % 2)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def add_image(root, image_id, instances, image=None, file_format="JPEG"):
    """Write the image (by default one that shows the instances) and its annotation."""
    for folder in ("img", "inst"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shown = Image.fromarray(pixels(instances)) if image is None else image
    shown.save(root / "img" / f"{image_id}.jpg", file_format)
    truth = {"Segmentation": instances, "Categories": np.array([[15], [3]], np.uint8)}
    savemat(root / "inst" / f"{image_id}.mat", {"GTinst": truth})


def add_split(root, name, *image_ids):
    """Write a list file."""
    (root / f"{name}.txt").write_text("".join(f"{image_id}\n" for image_id in image_ids))


NAMING = """\
name = "Shapes"
licence = "CC0-1.0"
citation = "drawn for tests"
"""
"""What ``dataset.toml`` says."""


def write_set(root):
    """Four images with two objects each, all in the split ``train``, and the first of them in ``one``."""
    ids = [f"2008_00000{n}" for n in range(4)]
    for n, image_id in enumerate(ids):
        add_image(root, image_id, labels(shift=n))
    add_split(root, "train", *ids)
    add_split(root, "one", ids[0])
    (root / "dataset.toml").write_text(NAMING)
    return root
