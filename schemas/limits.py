"""Limits on what a file may claim, so that no file decides how much memory or time its reader takes.

Each is checked before the content is read or decoded. They lie far above what published data sets, checkpoints and
databases hold.
"""

from __future__ import annotations

IMAGE_FILE_BYTES = 1 << 30
"""Largest file of an image or a mask image."""
IMAGE_PIXELS = 150_000_000
"""Most pixels of an image, a mask image or a mask; a photograph of 12,000 x 9,000 pixels has 108 million."""
MAT_FILE_BYTES = 1 << 28
"""Largest .mat file of annotations; those of SBD and PASCAL-Part have up to 200 KB."""
LIST_FILE_BYTES = 1 << 28
"""Largest list file of image ids, recipe or configuration file."""
DATASET_JSON_BYTES = 4 << 30
"""Largest JSON file with the annotations of a whole data set; that of LVIS has 1.2 GB."""
JSON_BYTES = 1 << 28
"""Largest JSON file of any other kind that describes one image, shard or run."""
PLAN_BYTES = 2 << 30
"""Largest plan or manifest: it names every image; a plan of SA-1B has 150 MB."""
FILE_BYTES = 8 << 30
"""Largest file of any other kind that is read as a whole."""
TEXT_LENGTH = 1024
"""Longest id, path, class name or label, in characters."""
JSON_DEPTH = 64
"""Deepest nesting of a JSON document."""
SHARD_ROWS = 2_000_000
"""Most rows in a table of a shard; one of 100 images with 100 objects has up to 150,000."""
RESULT_ROWS = 200_000_000
"""Most rows in a table of an evaluation; one of COCO's validation split at all granularities has 7 million."""
SHARD_TABLE_BYTES = 2 << 30
"""Most bytes of the columns that are read of a shard's table, once they are decoded."""
RESULT_TABLE_BYTES = 32 << 30
"""Most bytes of the columns that are read of an evaluation's table, once they are decoded."""
PARQUET_FOOTER_BYTES = 16 << 20
"""Largest footer of a Parquet file; that of a shard has up to 10 KB."""
STORED_TEXT_LENGTH = 4 * TEXT_LENGTH
"""Longest text in a table, in characters: ids that are made of several, and messages."""
SIDECAR_BYTES = 1 << 20
"""Largest sidecar of a shard; they have about 1 KB."""
SEGMENTATION_BYTES = 64 << 20
"""Longest JSON of one segmentation; compressed run lengths of a large photograph's noise have up to 30 MB."""
SEGMENTATION_NUMBERS = 4_000_000
"""Most numbers in the polygons or uncompressed run lengths of one object."""
POLYGON_PIXELS = 2_000_000
"""Longest outline of one object's polygons, in pixels: their rasterisation walks along every edge."""
