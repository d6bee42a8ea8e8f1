"""What the text of a licence says: which licence it names, and what that asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass

TERMS = ("by", "nc", "nd", "sa")
"""What a licence of Creative Commons may ask for, in the order of its name."""
SPELLINGS = (
    (r"[_\u2010-\u2015]", "-"),
    (r"(?:https?://)?(?:www\.)?creativecommons\.org/", " creativecommons.org/"),
    (r" creativecommons\.org/publicdomain/zero/", " cc0 "),
    (r" creativecommons\.org/publicdomain/mark/", " public domain mark "),
    (r" creativecommons\.org/licenses/", " cc "),
    (r"/(?:deed|legalcode)(?:\.[\w-]+)?", " "),
    (r"creative[\s-]*commons", " cc "),
    (r"\bcc[\s-]*(?:zero|0)\b", " cc0 "),
    (r"attribution", " cc by "),
    (r"\bccby", " cc by"),
    (r"non?[\s-]*commercial", " nc "),
    (r"no[\s-]*deriv(?:ative)?s?(?:[\s-]*works?)?", " nd "),
    (r"share[\s-]*alike", " sa "),
    (r"\b(by|nc|nd|sa)(?=\d)", r"\1 "),
    (r"\bv(?=\d)", " "),
    (r"\bpublic\b(?![\s-]*domain)", " "),
)
"""Spellings in lower case, and what is read in their place; one after the other."""
IGNORED = frozenset(
    ("the", "license", "licence", "version", "international", "unported", "universal", "generic", "generated")
)
"""Words that change no licence."""
PERMISSIVE = re.compile(
    r"(?:cc0|public-domain|mit|apache|bsd)(?:-(?:cc0|public-domain|mit|apache|bsd|clause|mark|dedication|and|or|[\d.]+))*"
)
"""Names of licences that allow changed copies under another licence."""


@dataclass(frozen=True)
class LicenceText:
    """What the text of a licence says.

    Attributes:
        name: a short name, such as ``cc-by-nc-4.0``, ``mit`` or ``research-use``.
        terms: which of ``TERMS`` the licences of Creative Commons in the text ask for.
        version: version of the licence of Creative Commons; "" if the text names none, or several.
        known: whether the text is the name of a licence whose terms are known here, and nothing else.
    """

    name: str
    terms: frozenset[str]
    version: str
    known: bool


def read_licence(text: str) -> LicenceText:
    """Read the text of a licence, however it is spelled: a name in English, an identifier, or an address."""
    words = _words(text)
    name = "-".join(words)
    if "cc" not in words:
        return LicenceText(name, frozenset(), "", PERMISSIVE.fullmatch(name) is not None)
    terms = frozenset(TERMS) & frozenset(words)
    versions = {_version(word) for word in words if _is_version(word)}
    version = versions.pop() if len(versions) == 1 else ""
    known = not versions and _is_one_licence(words)
    if known:
        name = "-".join(["cc", *(term for term in TERMS if term in terms), *filter(None, [version])])
    return LicenceText(name, terms, version, known)


def _words(text: str) -> list[str]:
    """The words of a text that matter, in lower case and in one spelling."""
    text = text.lower()
    for pattern, word in SPELLINGS:
        text = re.sub(pattern, word, text)
    words = (word.strip(".") for word in re.findall(r"[a-z0-9.+]+", text))
    return [word for word in words if word.strip("+") and word not in IGNORED]


def _is_version(word: str) -> bool:
    return re.fullmatch(r"\d(?:\.\d)?", word) is not None


def _version(word: str) -> str:
    return word if "." in word else f"{word}.0"


def _is_one_licence(words: list[str]) -> bool:
    """Whether words with "cc" are one licence of Creative Commons; it may be said twice, in words and in short."""
    said: list[set[str]] = [set()]
    for word in words:
        if word == "cc":
            said.append(set())
        elif not _is_version(word):
            said[-1].add(word)
    found = [each for each in said if each]
    return bool(found) and found[0] <= set(TERMS) and all(each == found[0] for each in found)
