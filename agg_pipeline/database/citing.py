"""``CITATION.cff``: how to cite a database, in the Citation File Format 1.2.0.

People replace the name of the author by theirs; therefore no checksum of the file is kept.
"""

from __future__ import annotations

import json

from agg_pipeline.database.description import description
from agg_pipeline.execution.plan import sources
from schemas.canonical import Json

METHOD = """\
  - type: conference-paper
    title: "GraCo: Granularity-Controllable Interactive Segmentation"
    authors:
      - {family-names: Zhao, given-names: Yian}
      - {family-names: Li, given-names: Kehan}
      - {family-names: Cheng, given-names: Zesen}
      - {family-names: Qiao, given-names: Pengchong}
      - {family-names: Zheng, given-names: Xiawu}
      - {family-names: Ji, given-names: Rongrong}
      - {family-names: Liu, given-names: Chang}
      - {family-names: Yuan, given-names: Li}
      - {family-names: Chen, given-names: Jie}
    collection-title: Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)
    year: 2024
"""
"""The method that makes the masks."""


def citation_file(manifest: Json) -> bytes:
    """The content of ``CITATION.cff``.

    Args:
        manifest: the manifest of the database, with its identity.
    """
    about = description(manifest["plan"])
    lines = [
        "cff-version: 1.2.0",
        "message: If you use this database, please cite it and its references.",
        "type: dataset",
        f"title: {_text(f'Proposals of {about.names}')}",
        f"abstract: {_text(f'Masks with their granularities. Licence of the data: {about.licence}')}",
        "authors:",
        "  - name: The authors of this database",
        "identifiers:",
        "  - type: other",
        f"    value: {_text(manifest['id'])}",
        "    description: Identity of the content, as agg database id prints it",
        "references:",
    ]
    datasets = [run["dataset"] for run in sources(manifest["plan"])]
    for name, citation, homepage in dict.fromkeys(
        (dataset["name"], dataset["citation"], dataset.get("homepage", "")) for dataset in datasets
    ):
        if citation:
            lines += ["  - type: data", f"    title: {_text(name)}", "    authors:"]
            lines += [f"      - name: {_text('The authors of ' + name)}", f"    notes: {_text(citation)}"]
            if homepage.startswith(("http://", "https://")):
                lines.append(f"    url: {_text(homepage)}")
    # Masks of another program are not made by the method, except those of the authors'.
    by_method = any(run.get("imported", {}).get("format") in (None, "released") for run in sources(manifest["plan"]))
    return ("\n".join(lines) + "\n" + (METHOD if by_method else "")).encode()


def _text(text: str) -> str:
    """A text in YAML, which reads those of JSON."""
    return json.dumps(text, ensure_ascii=False)
