"""A file of the process classification: domains (L0), sub-domains (L1), and examples of what to build."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from .documents import Document, DocumentPart
from .plain_words import shown, wrong
from .process import Title
from .spelling import ProcessCode

_DOMAIN: Final = re.compile(r"[0-9]{3}")
_SHORT: Final = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*")


def _domain_code(text: str) -> str:
    if _DOMAIN.fullmatch(text) is None:
        words = f"must be three digits, such as 040, not {shown(text)}"
        raise wrong("bad_code", words, "put the code in quotes")
    return text


def _short_code(text: str) -> str:
    if _SHORT.fullmatch(text) is None:
        raise wrong("bad_code", f"must be spelled as AOP-SESS, not {shown(text)}", "use capitals and digits")
    return text


ShortCode = Annotated[str, Field(max_length=20), AfterValidator(_short_code)]


class Domain(DocumentPart):
    """A domain (L0): `040 AOP`, and its name."""

    code: Annotated[str, AfterValidator(_domain_code)]
    short: ShortCode
    name: Title


class Subdomain(DocumentPart):
    """A sub-domain (L1): `040.001 AOP-SESS`, and its name; the first three digits are its domain's."""

    code: ProcessCode
    short: ShortCode
    name: Title

    @property
    def domain(self) -> str:
        """The code of the domain it belongs to."""
        return self.code[:3]


class Example(DocumentPart):
    """Something to build: what sets it off, in which sub-domain it belongs, and what a run of it does."""

    name: Title
    trigger: Literal["schedule", "api", "github"]
    process: ProcessCode
    does: Title


class ClassificationFile(Document):
    """A whole `pcf.yaml`: what it adds to the classification."""

    domains: Annotated[tuple[Domain, ...], Field(max_length=1000)] = ()
    subdomains: Annotated[tuple[Subdomain, ...], Field(max_length=1000)] = ()
    examples: Annotated[tuple[Example, ...], Field(max_length=1000)] = ()
