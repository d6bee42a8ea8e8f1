"""The annotations of COCO's instance files, by image: a broken one costs only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Raw

from agg_pipeline.datasets.coco_entries import Annotation, Id, Owned, check_broken, id_text
from agg_pipeline.datasets.instances import Instance, Numbered, check_exact
from agg_pipeline.datasets.json_entries import readable_part
from schemas.checked_json import JsonError, decode
from schemas.words import plural, printable


@dataclass(frozen=True, slots=True)
class Annotations:
    """The annotations of an instance file.

    Attributes:
        by_image: those of the listed images, by the image's id.
        homeless: one line per annotation of no listed image.
        nameless: number of annotations by the category that they name and that is not listed; empty if no category is.
    """

    by_image: dict[str, list[Instance]]
    homeless: list[str]
    nameless: Counter[str]


def annotations_by_image(
    entries: Sequence[Raw], where: str, images: Container[str], categories: Mapping[str, str | None]
) -> Annotations:
    """Read the annotations of an instance file.

    Args:
        entries: the annotations.
        where: path of the file, for messages.
        images: ids of the listed images.
        categories: names of the categories, by id; None for an id of several.

    Raises:
        UserError: too many of the annotations are broken.
    """
    found = Annotations({}, [], Counter())
    seen: set[tuple[str, int]] = set()
    broken = 0
    for place, raw in enumerate(entries):
        what = f"annotations[{place}]"
        category = None
        try:
            each = decode(bytes(raw), Annotation, what, strict=False)
            check_exact(each.id, raw, what)
        except JsonError as error:
            image_id, instance = _broken(raw, error)
            broken += 1
            check_broken(broken, "annotations", where, printable(str(error)))
        else:
            image_id, category = id_text(each.image_id), _text(each.category_id)
            name = None if category is None else categories.get(category)
            instance = Instance(each.id, name, bool(each.iscrowd), bytes(each.segmentation))
            if (image_id, each.id) in seen:
                problem = f"annotation id {each.id} occurs twice in image {printable(image_id)}"
                instance = Instance(None, problem=problem)
            seen.add((image_id, each.id))
        if image_id is None:
            found.homeless.append(instance.problem)
            continue
        if image_id not in images:
            name = what if instance.number is None else f"annotation {instance.number}"
            found.homeless.append(f"{name} belongs to image {printable(image_id)}, which is not listed")
            continue
        if category is not None and categories and category not in categories:
            found.nameless[category] += 1
        found.by_image.setdefault(image_id, []).append(instance)
    return found


def _text(number: Id | None) -> str | None:
    return None if number is None else id_text(number)


def _broken(raw: Raw, error: JsonError) -> tuple[str | None, Instance]:
    """The image of an annotation that cannot be used, None if that is unknown, and what is left of the annotation."""
    owner, numbered = readable_part(raw, Owned), readable_part(raw, Numbered)
    number = None if numbered is None else numbered.id
    name = error.where if number is None else f"annotation {number}"
    instance = Instance(number, problem=printable(f"{name}{error.problem}"))
    return None if owner is None else id_text(owner.image_id), instance


def stray_lines(annotations: Annotations) -> Iterator[str]:
    """One line per annotation of no listed image, and per category that is not listed."""
    yield from annotations.homeless
    for name, count in sorted(annotations.nameless.items()):
        yield f"category {printable(name)} of {plural(count, 'annotation')} is not listed"


def remarks_on(annotations: Annotations) -> Iterator[str]:
    """The same in short: one line per kind."""
    homeless, nameless = len(annotations.homeless), annotations.nameless.total()
    if homeless:
        yield f"{plural(homeless, 'annotation')} {'belongs' if homeless == 1 else 'belong'} to no listed image"
    if nameless:
        listed = ", ".join(map(printable, sorted(annotations.nameless)[:3]))
        yield f"{plural(nameless, 'annotation')} {'names' if nameless == 1 else 'name'} no listed category: {listed}"
