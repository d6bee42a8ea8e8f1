"""Limits on what a file may claim, so that no file decides how much memory or time its reader takes.

Each is checked before the content is read or decoded. They lie far above what published data sets, checkpoints and
databases hold.
"""

from __future__ import annotations

IMAGE_FILE_BYTES = 1 << 30
"""Largest file of an image or a mask image."""
IMAGE_PIXELS = 150_000_000
"""Most pixels of an image, a mask image or a mask; a photograph of 12,000 x 9,000 pixels has 108 million."""
JPEG_SCANS = 100
"""Most scans of a JPEG; each takes the time of decoding the image, and progressive ones have about 10."""
MAT_FILE_BYTES = 1 << 28
"""Largest .mat file of annotations; those of SBD and PASCAL-Part have up to 200 KB."""
MAT_CONTENT_BYTES = 1 << 29
"""Most bytes of a .mat file after decompression; those of PASCAL-Part have up to 8 MB."""
MAT_ARRAYS = 100_000
"""Most arrays in a .mat file: cells, structs, their fields, lines of texts; those of PASCAL-Part have up to 5,000."""
MAT_ELEMENTS = 1 << 29
"""Most elements of an array in a .mat file, where a side of 0 counts as 1; annotations have as many as their image has
pixels."""
MAT_DEPTH = 32
"""Deepest nesting of cells and structs in a .mat file; those of PASCAL-Part have 3 levels."""
OBJECTS_PER_IMAGE = 65_535
"""Most objects of an image: as many as a label map of 16 bits can number. SA-1B has up to 500."""
PARTS_PER_OBJECT = 1000
"""Most annotated parts of an object, because each is compared with each; PASCAL-Part has up to 60."""
ITEM_SECONDS = 600
"""Longest time that the reading of one image may take when a data set is checked or counted."""
LIST_FILE_BYTES = 1 << 28
"""Largest list file of image ids."""
CONFIG_BYTES = 1 << 16
"""Largest recipe or configuration file; a key of some thousand parts takes the parser minutes."""
DATASET_JSON_BYTES = 4 << 30
"""Largest JSON file with the annotations of a whole data set; that of LVIS has 1.2 GB."""
BROKEN_ENTRIES = 100_000
"""Most entries of such a file that cannot be used: each has a line of its own where the set is checked."""
ENTRY_BYTES = 24
"""Fewest bytes of an entry of such a file, on average, where it has more than that; an annotation has at least 40."""
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
CONDITION_DEPTH = 100
"""Deepest nesting of a condition on masks; a sum of a hundred numbers is nested so deep."""
MODEL_BYTES = 6 << 30
"""Largest file of a model or an adapter; the largest SimpleClick has 2.6 GB in float32, 5.3 GB in float64."""
ONNX_BYTES = (2 << 30) - 1
"""Largest ONNX file; its format has no larger ones."""
CHECKPOINT_BYTES = 10 << 30
"""Largest checkpoint of a training; that of the largest SimpleClick and its optimiser has 8 GB."""
PICKLE_BYTES = 16 << 20
"""Largest pickle in a file of torch, which holds all but its numbers."""
PICKLE_OPERATIONS = 1_000_000
"""Most operations of such a pickle, and most values in it."""
ZIP_DIRECTORY_BYTES = 1 << 20
"""Largest list of the entries of a zip archive; one entry takes some 80 bytes."""
SAFETENSORS_HEADER_BYTES = 4 << 20
"""Largest header of a safetensors file; one tensor takes some 100 bytes."""
INTEGER_BITS = 128
"""Most bits of an integer in a pickle; torch's first number in files before 1.6 has 79."""
TENSOR_DIMENSIONS = 16
"""Most dimensions of a tensor."""
TENSOR_SIDE = 1 << 24
"""Most entries along a dimension of a model's tensor; those of SimpleClick have up to 5,120."""
ADAPTER_WIDTH = 1 << 14
"""Largest width of the model that an adapter is for; the largest SimpleClick has 1280."""
ADAPTER_RANK = 1 << 10
"""Largest rank of an adapter's LoRA."""
PHRASE_NUMBERS = 1 << 26
"""Most numbers of a released adapter's second branch, which is kept but unused; its LoRA has up to 3 million."""
LOG_BYTES = 1 << 30
"""Largest log of a training; a step takes some 60 bytes."""
SHARD_ROWS = 2_000_000
"""Most rows in a table of a shard; one of 100 images with 100 objects has up to 150,000."""
RESULT_ROWS = 50_000_000
"""Most clicks in the results of an evaluation; those of COCO's validation split at all granularities have 7 million."""
RESULT_MASKS = 5_000_000
"""Most masks in the results of an evaluation; COCO's training split has 860,000."""
SHARD_TABLE_BYTES = 2 << 30
"""Most bytes of the columns that are read of a shard's table, once they are decoded."""
RESULT_TABLE_BYTES = 8 << 30
"""Most bytes of the columns that are read of an evaluation's table, once they are decoded."""
RESULT_ROW_BYTES = 32 << 10
"""Most bytes of the columns that are read of a click, whose id has up to ``STORED_TEXT_LENGTH`` characters."""
SHARD_TABLE_SMALL = 1 << 28
"""Bytes of the decoded columns of a shard's table up to which its file may be of any size."""
SHARD_TABLE_GROWTH = 32
"""Most bytes of the decoded columns of a larger one per byte of its file; those of large databases have up to 5."""
CLICKS_PER_MASK = 64
"""Most values in a list of a table: the clicks of a mask, of which the mask engine makes up to 24."""
GIVEN_CLICKS = 1000
"""Most clicks on a mask that a program gives, as many as an evaluation makes."""
PARQUET_FOOTER_BYTES = 16 << 20
"""Largest footer of a Parquet file; that of a shard has up to 10 KB."""
PAGE_HEADER_BYTES = 1 << 20
"""Largest header of a page of a Parquet file; those of a shard have up to 100 bytes."""
STORED_TEXT_LENGTH = 4 * TEXT_LENGTH
"""Longest text in a table, in characters: ids that are made of several, and messages."""
SIDECAR_BYTES = 1 << 20
"""Largest sidecar of a shard; they have about 1 KB."""
PACKED_FILES = 2_000_000
"""Most files in a database that is packed into one file; that of SA-1B in shards of 25 images has 1.8 million."""
SEGMENTATION_BYTES = 64 << 20
"""Longest JSON of one segmentation; compressed run lengths of a large photograph's noise have up to 30 MB."""
SEGMENTATION_NUMBERS = 4_000_000
"""Most numbers in the polygons or uncompressed run lengths of one object."""
POLYGON_PIXELS = 2_000_000
"""Longest outline of one object's polygons, in pixels: their rasterisation walks along every edge."""
MAT_FIELDS = 1000
"""Most fields of a struct in a .mat file; those of PASCAL-Part have five."""
MAT_TEXT_LENGTH = 1_000_000
"""Most characters in all texts of a .mat file together; those of PASCAL-Part have up to 20,000."""
EXCHANGE_ENTRY_BYTES = SEGMENTATION_BYTES + (1 << 20)
"""Longest part of a document of another format that is read entry by entry: an annotation with its segmentation."""
EXCHANGE_KEYS = 1000
"""Most keys of such a document."""
EXCHANGE_FILE_BYTES = 1 << 40
"""Largest file of another format; all are read piece by piece."""
EXCHANGE_IMAGES = 2_000_000
"""Most images of such a file: their names are held in memory."""
EXCHANGE_MASKS = 20_000_000
"""Most masks of such a file: the place of each is held in memory."""
RELEASED_ARRAY_BYTES = 1 << 29
"""Largest array in a pickle of the authors' program: all masks of an image. Those of SBD have up to 10 MB."""
RELEASED_OPERATIONS = 100 * EXCHANGE_IMAGES
"""Most operations of such a pickle; an image takes about 60."""
