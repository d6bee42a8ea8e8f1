"""What the data of a database are called: name, licence, citation and homepage, for those who get the database.

What the user says comes first, then the file ``dataset.toml`` in the root folder, then the published data set, if the
images are recognised as its. A layout alone says nothing: anybody can put photographs into folders of these names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from agg_pipeline.datasets.dataset import Dataset
from agg_pipeline.datasets.file_listing import read_optional
from agg_pipeline.storage.store import Store
from agg_pipeline.storage.text_files import toml_of
from schemas import limits
from schemas.errors import UserError
from schemas.words import excerpt

FILE = "dataset.toml"
"""Name of the file in the root folder of a data set."""
UNKNOWN = "unknown"
LONGEST = 1000
"""Characters of each text."""
LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
ADDRESS = re.compile(r"(https?://[\x21-\x7e]+)?")


@dataclass(frozen=True)
class Naming:
    """What somebody says of the data; "" where nothing is said.

    Attributes:
        name: name of the data set.
        licence: licence of images and annotations.
        citation: publication to cite.
        homepage: address of the publisher, http:// or https://.
    """

    name: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""

    def over(self, other: Naming) -> Naming:
        """What this one says, and what the other one says where this one says nothing."""
        mine = {key: text for key, text in asdict(self).items() if text}
        return replace(other, **mine)


NOTHING_SAID = Naming()


def checked(values: Mapping[str, object], before: str) -> Naming:
    """A naming from the values of its fields.

    Args:
        values: any of the fields, by name.
        before: what a message has before the name of a field.

    Raises:
        UserError: a value is no text of one line, or too long, or the homepage is no address.
    """
    texts = {}
    for key, text in values.items():
        if not isinstance(text, str) or len(text) > LONGEST or not LINE.fullmatch(text):
            raise UserError(f"{before}{key} is not a text of one line with at most {LONGEST} characters")
        if key == "homepage" and not ADDRESS.fullmatch(text):
            raise UserError(f"{before}{key} {excerpt(text)!r} is not an address, http://... or https://...")
        texts[key] = text
    return Naming(**texts)


def named(dataset: Dataset, store: Store, given: Naming) -> Dataset:
    """The data set with what is known of its data.

    Args:
        dataset: a listed split, described by its layout.
        store: its root folder.
        given: what the user says.

    Raises:
        UserError: ``dataset.toml`` cannot be used.
    """
    about = dataset.about
    naming = given.over(_of_file(store) if about.layout else NOTHING_SAID)
    if recognised(dataset):
        naming = naming.over(Naming(about.name, about.licence, about.citation, about.homepage))
    naming = naming.over(Naming(f"{UNKNOWN} (layout of {about.name})", UNKNOWN, UNKNOWN))
    described = replace(about, licence=naming.licence, citation=naming.citation, homepage=naming.homepage)
    return replace(dataset, about=described, called=naming.name)


def recognised(dataset: Dataset) -> bool:
    """Whether the images of a split are those of the published set, as far as their number and their ids say it."""
    about = dataset.about
    if not about.layout:
        return True
    published = about.published.get(dataset.split)
    return (
        published is not None
        and len(dataset.entries) == published.images
        and all(re.fullmatch(published.ids, entry.image_id) for entry in dataset.entries)
    )


def unknown_licence(dataset: Dataset, root: str) -> list[str]:
    """A note for data whose licence nobody has said.

    Args:
        dataset: a data set that is named.
        root: its root folder.
    """
    if dataset.about.licence != UNKNOWN:
        return []
    return [
        "the licence of the data is unknown, and the card of the database says so; name it as --licence (and --name, "
        f"--citation, --homepage) or in the file {root.rstrip('/')}/{FILE}, or afterwards with agg database describe. "
        "If these are images of the published set, agg data list shows its licence and citation"
    ]


def _of_file(store: Store) -> Naming:
    where = f"{store.url}/{FILE}"
    try:
        content = read_optional(store, FILE, limits.CONFIG_BYTES)
    except FileNotFoundError:
        return NOTHING_SAID
    values = toml_of(content, where)
    unknown = sorted(values.keys() - asdict(NOTHING_SAID).keys())
    if unknown:
        raise UserError(f"{where}: unknown key {excerpt(unknown[0])!r}; possible: {', '.join(asdict(NOTHING_SAID))}")
    return checked(values, f"{where}: ")
