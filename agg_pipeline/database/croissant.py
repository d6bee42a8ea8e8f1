"""``croissant.json``: what a database is, in the format that search engines and loaders of data sets read.

The format is Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). Paths are relative to the
database.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa

from agg_pipeline.database.contents import SAMPLING_FILE
from agg_pipeline.database.description import Description, description
from agg_pipeline.database.image_licences import IMAGE_LICENCES
from agg_pipeline.storage.store import json_bytes
from schemas.canonical import Json
from schemas.tables import FILES, SAMPLING

PARQUET = "application/x-parquet"
CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The names of Croissant, as every document of it repeats them."""


def croissant(manifest: Json, sampling_sha256: str) -> bytes:
    """The content of ``croissant.json``.

    Args:
        manifest: the manifest of the database, with its identity.
        sampling_sha256: sha256 of ``sampling.parquet``, in hex.
    """
    about = description(manifest["plan"])
    tables = [_file_set(name) for name in FILES]
    sampling = {
        "@type": "cr:FileObject",
        "@id": SAMPLING_FILE,
        "name": SAMPLING_FILE,
        "contentUrl": SAMPLING_FILE,
        "encodingFormat": PARQUET,
        "sha256": sampling_sha256,
    }
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"Proposals of {about.names}",
        "description": "Masks of objects and of their parts, each with a granularity in [0, 1], from fine (0) to the "
        f"whole object (1). Data: {about.data}. Identity: {manifest['id']}.",
        "identifier": manifest["id"],
        "license": _licence(about.licence, manifest.get(IMAGE_LICENCES, {}).get("counts", {})),
        "citeAs": _bibtex(about, manifest["id"]),
        "keywords": ["image segmentation", "interactive segmentation", "granularity"],
        "distribution": [*tables, sampling],
        "recordSet": [
            *(_record_set(name, schema, {"fileSet": {"@id": f"{name}-files"}}) for name, schema in FILES.items()),
            _record_set("sampling", SAMPLING, {"fileObject": {"@id": SAMPLING_FILE}}),
        ],
    }
    if about.homepages:
        document["url"] = about.homepages[0]
    return json_bytes(document)


def _licence(of_data: str, of_images: Collection[str]) -> str | list[str]:
    """The licence of the data sets, and those of the images where they differ."""
    found = list(dict.fromkeys([of_data, *of_images]))
    return found[0] if len(found) == 1 else found


def _bibtex(about: Description, identity: str) -> str:
    words = {
        "title": f"Proposals of {about.names}",
        "note": f"Database of masks with granularities, identity {identity}. Data: {about.citation}",
    }
    fields = ", ".join(f"{name} = {{{text.replace('{', '(').replace('}', ')')}}}" for name, text in words.items())
    return f"@misc{{proposals_{identity[:12]}, {fields}}}"


def _file_set(name: str) -> Json:
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "description": f"the table {name}, a file for each shard",
        "encodingFormat": PARQUET,
        "includes": f"{name}/*.parquet",
    }


def _record_set(name: str, schema: pa.Schema, source: Json) -> Json:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [_field(name, field, source) for field in schema],
    }


def _field(table: str, field: pa.Field, source: Json) -> Json:
    """A column; the parts of a nested one are fields in it."""
    place = f"{table}/{field.name}"
    described = {"@type": "cr:Field", "@id": place, "name": place, "description": field.metadata[b"unit"].decode()}
    repeated = pa.types.is_list(field.type)
    kind = field.type.value_type if repeated else field.type
    column: Json = source | {"extract": {"column": field.name}}
    if not pa.types.is_struct(kind):
        return described | {"dataType": _data_type(kind), "source": column}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{place}/{part.name}",
            "name": f"{place}/{part.name}",
            "dataType": _data_type(part.type),
            "source": column | {"transform": {"jsonPath": part.name}},
            **({"repeated": True} if repeated else {}),
        }
        for part in kind
    ]
    return described | {"subField": parts} | ({"repeated": True} if repeated else {})


def _data_type(kind: Any) -> str:
    """What Croissant calls a type; it has none for bytes, and reads those of a text."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
