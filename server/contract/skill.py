"""The skill: a SKILL.md of the Agent Skills standard, and what our `metadata` keys say about it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from .documents import Document, admit, frontmatter
from .plain_words import shown, wrong
from .refusals import BadDocument
from .spelling import EffectPattern, ModelName, SkillName, StepCode

OUR_PREFIX: Final = "minion-"
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:*-]{1,100}")


def _words(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


def _tool_codes(value: object) -> object:
    """`tool=CODE tool=CODE` as a mapping."""
    if not isinstance(value, str):
        return value
    mapping: dict[str, str] = {}
    for pair in value.split():
        tool, equals, code = pair.partition("=")
        if not equals or tool in mapping:
            why = "is given twice" if tool in mapping else "is no pair tool=CODE"
            raise wrong(
                "bad_tools", f"has the entry {shown(pair)}, which {why}", "write Bash=SCR-RUN Read=SCR-READ"
            )
        mapping[tool] = code
    return mapping


def _tool_name(text: str) -> str:
    if _TOOL_NAME.fullmatch(text) is None:
        raise wrong("bad_tools", "is not the name of a tool", "write Bash=SCR-RUN Read=SCR-READ")
    return text


def _allowed_tools(value: object) -> object:
    """The standard's one text as single tools; a list, which its validator lets pass too, stays one."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    tools, depth = [""], 0
    for letter in value:
        depth = max(0, depth + (letter == "(") - (letter == ")"))
        # A space inside brackets belongs to the tool: `Bash(git add *)` is one entry.
        if depth == 0 and (letter.isspace() or letter == ","):
            tools.append("")
        else:
            tools[-1] += letter
    return tuple(tool for tool in tools if tool)


class SkillHeader(Document):
    """The header of a SKILL.md: the standard's six keys and no other."""

    name: SkillName
    description: Annotated[str, Field(max_length=1024)]
    license: str | None = None
    allowed_tools: Annotated[
        tuple[str, ...], Field(alias="allowed-tools"), BeforeValidator(_allowed_tools)
    ] = ()
    metadata: dict[str, str] = Field(default_factory=dict)
    compatibility: Annotated[str, Field(max_length=500)] | None = None

    @field_validator("description")
    @classmethod
    def _says_something(cls, description: str) -> str:
        if not description.strip():
            raise wrong(
                "blank_description", "must not be blank", "say what the skill does and when to use it"
            )
        return description


class SkillMetadata(Document):
    """Our keys among a skill's `metadata`: texts, with spaces between the words of a list."""

    code: Annotated[StepCode | None, Field(alias="minion-code")] = None
    requires: Annotated[
        tuple[SkillName, ...], Field(alias="minion-requires", max_length=50), BeforeValidator(_words)
    ] = ()
    effects: Annotated[
        tuple[EffectPattern, ...], Field(alias="minion-effects", max_length=50), BeforeValidator(_words)
    ] = ()
    tools: Annotated[
        dict[Annotated[str, AfterValidator(_tool_name)], StepCode],
        Field(alias="minion-tools", max_length=100),
        BeforeValidator(_tool_codes),
    ] = Field(default_factory=dict)
    model: Annotated[ModelName | None, Field(alias="minion-model")] = None


@dataclass(frozen=True, slots=True)
class Skill:
    """An admitted skill. `code` is the declared step code or None; `tools` maps tool names to step codes.

    `model` is what performs it where an engine has models, None for the routine's.

    `effects` are patterns that the skill may stage, `requires` names of other skills, `instructions` the
    Markdown below the header.
    """

    name: str
    description: str
    license: str | None
    allowed_tools: tuple[str, ...]
    compatibility: str | None
    code: str | None
    requires: tuple[str, ...]
    effects: tuple[str, ...]
    tools: dict[str, str]
    model: str | None
    instructions: str


def admit_skill(body: bytes, *, folder: str | None, source: str) -> Skill:
    """The skill that the bytes of a SKILL.md describe.

    `folder` is the name of the folder it lies in, None when it lies in none yet, as in an archive.
    Rules: the Agent Skills standard (name = folder name, six keys, texts only) and DECISIONS "Routine and
    skills" for our `metadata` keys. Raises one `BadDocument` that names every breach.
    """
    data, instructions = frontmatter(body, source=source)
    found: list[BadDocument] = []
    header = _tried(SkillHeader, data, source, found)
    metadata = _tried(SkillMetadata, _our_keys(data.get("metadata")), f"{source} metadata", found)
    name = data.get("name")
    if folder is not None and isinstance(name, str) and name != folder:
        words = f"{source}: `name` is {shown(name)}, but the folder is {shown(folder)}."
        found.append(BadDocument("name_is_not_folder", words, hint="give the folder and the skill one name"))
    if metadata is not None and name in metadata.requires:
        words = f"{source}: `metadata.minion-requires` names the skill itself."
        found.append(BadDocument("requires_itself", words, hint=f"leave {name} out of it"))
    if header is None or metadata is None or found:
        said = " ".join(each.sentence for each in found)
        raise BadDocument(found[0].code, said, hint="; ".join(dict.fromkeys(each.hint for each in found)))
    return Skill(
        name=header.name,
        description=header.description,
        license=header.license,
        allowed_tools=header.allowed_tools,
        compatibility=header.compatibility or None,
        code=metadata.code,
        requires=metadata.requires,
        effects=metadata.effects,
        tools=metadata.tools,
        model=metadata.model,
        instructions=instructions,
    )


_Part = TypeVar("_Part", SkillHeader, SkillMetadata)


def _tried(model: type[_Part], data: object, source: str, found: list[BadDocument]) -> _Part | None:
    """The admitted part, or None with its refusal put on the list."""
    try:
        return admit(model, data, source=source)
    except BadDocument as refusal:
        found.append(refusal)
        return None


def _our_keys(metadata: object) -> dict[str, str]:
    """Our keys among what the header calls metadata; what is no text there, the header itself refuses."""
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: text for key, text in pairs if key.startswith(OUR_PREFIX) and isinstance(text, str)}


def admitted(skill: Skill) -> dict[str, Any]:
    """The plain JSON of a skill: the fields of `Skill`, with lists for tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(skill).items()}
