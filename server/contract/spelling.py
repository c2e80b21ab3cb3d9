"""How names, codes, addresses, globs and effect patterns are spelled in documents, as checked text types."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from .digest import IdPrefix, instant, is_id, parse_instant
from .egress import BadHost, pattern_of
from .plain_words import shown, wrong
from .topology import is_code

REPORT_SKILL: Final = "execution-report"
LONGEST_CONTENT: Final = 65_536
LONGEST_SETUP: Final = 65_536

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PCF = re.compile(r"[0-9]{3}\.[0-9]{3}")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}")
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TARGET = re.compile(r"[^\s\x00-\x1f]{1,200}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
# What steers git, the loader, the interpreter or the runner itself is the runner's alone.
_RESERVED_VARIABLES = ("GIT_", "LD_", "PYTHON", "MINION_")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]")
_SCP = re.compile(
    r"([A-Za-z0-9_][A-Za-z0-9._-]{0,63})@([A-Za-z0-9][A-Za-z0-9.-]{0,252}):([^-:\s][^\s]{0,1023})"
)
_URL_PATH = re.compile(r"/[A-Za-z0-9._~/+%@:=,-]{1,1023}")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+#-]{0,199}")
_BRANCH_BREAKERS = re.compile(r"\.\.|//|/\.|/-|\.lock(?:/|$)|[./]$")
_PUSH_GLOB = re.compile(r"claude/[a-z0-9*?][a-z0-9._/*?-]{0,100}")
_MESSAGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_EFFECT_FORMS = "message:NAME, push:REPO:claude/GLOB, pull_request:REPO, comment:REPO or file:GLOB"


def _slug(text: str) -> str:
    if _SLUG.fullmatch(text) is None:
        plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        # A letter that has no plain form would leave another word behind: then there is nothing to propose.
        letters = any(c.isalnum() and not c.isascii() for c in plain)
        guess = "" if letters else re.sub(r"[^a-z0-9]+", "-", plain.lower())[:64].strip("-")
        hint = f"write it as {guess}" if guess else "a name such as morning-report"
        raise wrong("bad_name", "must be 1 to 64 small letters, digits and single inner hyphens", hint)
    return text


def is_slug(text: str) -> bool:
    """Whether a text is a name such as morning-report: what `Slug` takes."""
    return _SLUG.fullmatch(text) is not None


def _skill_name(text: str) -> str:
    if "--" in text:
        raise wrong("bad_name", "must not have two hyphens in a row", "write it with one hyphen")
    return _slug(text)


def _pipeline_skill(text: str) -> str:
    if text == REPORT_SKILL:
        raise wrong(
            "report_skill_listed",
            f"must not be {REPORT_SKILL}, which the runner appends to every run",
            "leave it out of the pipeline",
        )
    return _skill_name(text)


def _minion_id(text: str) -> str:
    if _UUID.fullmatch(text) is None:
        raise wrong(
            "bad_minion_id",
            "must be the UUID of a minion",
            "leave it out, or copy it from the file of `minion init`",
        )
    return text.lower()


def _id_of(prefix: IdPrefix) -> AfterValidator:
    def check(text: str) -> str:
        if not is_id(text, prefix):
            raise wrong(
                "bad_id", f"must be an id that begins with {prefix}", "copy the whole id, or leave it out"
            )
        return text

    return AfterValidator(check)


def _any_id(text: str) -> str:
    if not any(is_id(text, prefix) for prefix in get_args(IdPrefix)):
        raise wrong("bad_id", "must be an id", "copy the whole id")
    return text


def _step_code(text: str) -> str:
    if not is_code(text):
        raise wrong(
            "bad_step_code",
            f"must be LLM-, TSK- or SCR- and capitals, digits or hyphens, not {shown(text)}",
            "write a code such as LLM-WRITE-REPORT",
        )
    return text


def _moment(text: str) -> str:
    try:
        exact = len(text) == 24 and instant(parse_instant(text)) == text
    except ValueError:
        exact = False
    if not exact:
        raise wrong(
            "bad_instant",
            "must be an instant YYYY-MM-DDTHH:MM:SS.mmmZ",
            "write UTC with three decimals and a Z",
        )
    return text


def _matching(pattern: re.Pattern[str], code: str, words: str, hint: str) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise wrong(code, words, hint)
        return text

    return AfterValidator(check)


def _secret_name(text: str) -> str:
    if "://" in text:
        raise wrong(
            "secret_in_document", "must be the name of a secret, not an address", "keep it in secrets.json"
        )
    if _SECRET.fullmatch(text) is None:
        raise wrong("bad_name", "must be the name of a secret", "letters, digits, . _ and - only")
    return text


def _variable(text: str) -> str:
    if _VARIABLE.fullmatch(text) is None:
        raise wrong(
            "bad_variable", "is not a variable name", "use capitals, digits and _, with no digit in front"
        )
    if text.startswith(_RESERVED_VARIABLES):
        raise wrong(
            "reserved_variable",
            "is reserved for the runner",
            "begin it with something else than GIT_, LD_, PYTHON or MINION_",
        )
    return text


def _variable_value(text: str) -> str:
    if len(text.encode()) > 4096:
        raise wrong(
            "out_of_range", "must have at most 4,096 bytes", "put long text into a file of the repository"
        )
    return text


def _host(text: str) -> str:
    try:
        return str(pattern_of(text))
    except BadHost as error:
        hint = "write example.com, *.example.com, example.com:8443 or an address such as [2001:db8::7]:443"
        raise wrong("bad_host", f"{error}: {shown(text)}", hint) from None


def is_host(value: object) -> bool:
    """Whether a value is a host name with a dot in it, as somebody writes who means just that one."""
    try:
        return isinstance(value, str) and "." in value and bool(pattern_of(value))
    except BadHost:
        return False


def _setup_script(text: str) -> str:
    if len(text.encode()) > LONGEST_SETUP:
        says = f"must have at most {LONGEST_SETUP:,} bytes"
        raise wrong("out_of_range", says, "have the script fetch what is long")
    return text


def _relative_glob(text: str) -> str:
    parts = text.split("/")
    if text.startswith(("/", "~")) or "\\" in text or not text.isprintable() or not text.strip():
        raise wrong(
            "bad_glob", "must be a relative path or glob", "write it as seen from the workspace: reports/*.md"
        )
    if ".." in parts or "" in parts:
        raise wrong(
            "bad_glob", "must not have .. or an empty part in it", "name files below the workspace only"
        )
    return text


def _argument(text: str) -> str:
    if not text.strip():
        raise wrong("bad_command", "must not be blank", "give the program, then each argument by itself")
    return text


def repository_name(url: str) -> str:
    """The name a repository has when its author gives none: the last part of its address, made a name."""
    last = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).lstrip("._-")[:64].rstrip(".") or "repository"


def _repository_name(text: str) -> str:
    if _REPOSITORY.fullmatch(text) is None or text.lower().endswith(".git") or text.endswith("."):
        raise wrong(
            "bad_name",
            "must be a folder name of letters, digits, . _ and -",
            "do not end it in .git or a dot",
        )
    return text


def _branch(text: str) -> str:
    # Stricter than `git check-ref-format --branch`: what is accepted here, git accepts too.
    if _BRANCH.fullmatch(text) is None or _BRANCH_BREAKERS.search(text) or text == "HEAD":
        raise wrong("bad_branch", "is not a branch name", "write it as git shows it, such as main")
    return text


def _repository_url(text: str) -> str:
    """An absolute path, or an https, ssh or `git@host:path` address that carries no credentials."""
    if not text.isprintable() or not text.strip() or len(text) > 2048:
        raise wrong(
            "bad_repository", "is blank, too long or has control characters in it", "write one plain address"
        )
    if text.startswith("/"):
        return text
    _refuse_local_forms(text)
    if "://" in text:
        return _checked_url(text)
    if _SCP.fullmatch(text) is None:
        raise wrong(
            "relative_repository", "must be an absolute path or an address", "write the whole path, from / on"
        )
    return text


def _refuse_local_forms(text: str) -> None:
    if text.startswith("-"):
        raise wrong("bad_repository", "must not begin with a hyphen", "write the whole path, from / on")
    if text.startswith("~"):
        raise wrong(
            "home_in_repository", "must not begin with ~", "write your home folder out: /home/you/project"
        )
    transport = re.match(r"([A-Za-z0-9.+-]+)(?:::|://)", text)
    if transport and (transport[0].endswith("::") or transport[1] not in ("https", "ssh")):
        raise wrong(
            "bad_transport",
            f"uses the transport {shown(transport[1])}, which is not allowed",
            "use https://, ssh://, git@host:path or an absolute path",
        )


def _checked_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong("bad_repository", "is not an address", "write https://host/owner/name") from None
    # The address itself is never repeated here: it may hold a token.
    if parts.password is not None or (parts.username is not None and parts.scheme == "https"):
        raise wrong(
            "credentials_in_document",
            "must not carry a name or password",
            "leave them to git's credential helper",
        )
    user_is_plain = parts.username is None or re.fullmatch(
        r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", parts.username
    )
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    plain = user_is_plain and _HOST.fullmatch(host) and _URL_PATH.fullmatch(parts.path)
    if not plain or parts.query or parts.fragment or "/-" in parts.path[:2]:
        raise wrong("bad_repository", "is not an address of a repository", "write https://host/owner/name")
    return text


def _effect_pattern(text: str) -> str:
    """`message:NAME`, `push:REPO:claude/GLOB`, `pull_request:REPO`, `comment:REPO` or `file:GLOB`.

    REPO is a repository's name or `*` for each of the routine's.
    """
    kind, _, rest = text.partition(":")
    repository, colon, branch = rest.partition(":")
    if kind == "push":
        known = _is_repository(repository) and bool(colon) and _PUSH_GLOB.fullmatch(branch) is not None
        if not known or _BRANCH_BREAKERS.search(branch):
            hint = "write push:REPO:claude/*, no other branch is pushed to"
            raise wrong("bad_effect", f"is not a push pattern: {shown(text)}", hint)
        return text
    if kind == "file":
        return "file:" + _relative_glob(rest)
    if kind == "message" and _MESSAGE.fullmatch(rest):
        return text
    if kind in ("pull_request", "comment") and _is_repository(rest):
        return text
    raise wrong("bad_effect", f"is not an effect pattern: {shown(text)}", f"write {_EFFECT_FORMS}")


def _is_repository(name: str) -> bool:
    return name == "*" or (_REPOSITORY.fullmatch(name) is not None and not name.lower().endswith(".git"))


Slug = Annotated[str, AfterValidator(_slug)]
SkillName = Annotated[str, AfterValidator(_skill_name)]
PipelineSkill = Annotated[str, AfterValidator(_pipeline_skill)]
MinionId = Annotated[str, AfterValidator(_minion_id)]
RoutineId = Annotated[str, _id_of("trig_")]
RunId = Annotated[str, _id_of("run_")]
DecisionId = Annotated[str, _id_of("dec_")]
AnyId = Annotated[str, AfterValidator(_any_id)]
Moment = Annotated[str, AfterValidator(_moment)]
StepCode = Annotated[str, AfterValidator(_step_code)]
ProcessCode = Annotated[
    str, _matching(_PCF, "bad_process", "must be a process code such as 040.001", 'write "040.001" in quotes')
]
ZoneName = Annotated[
    str,
    _matching(_ZONE, "bad_timezone", "must be the name of a time zone", "write one such as Europe/Berlin"),
]
ModelName = Annotated[
    str, _matching(_MODEL, "bad_model", "must be the name of a model", "leave it out for the default")
]
Target = Annotated[
    str, _matching(_TARGET, "bad_target", "must be a target without spaces", "write one such as slack")
]
SecretName = Annotated[str, AfterValidator(_secret_name)]
Variable = Annotated[str, AfterValidator(_variable)]
VariableValue = Annotated[str, AfterValidator(_variable_value)]
Host = Annotated[str, Field(max_length=300), AfterValidator(_host)]
SetupScript = Annotated[str, AfterValidator(_setup_script)]
RelativeGlob = Annotated[str, Field(max_length=512), AfterValidator(_relative_glob)]
Command = Annotated[
    tuple[Annotated[str, Field(max_length=4096), AfterValidator(_argument)], ...],
    Field(min_length=1, max_length=64),
]
RepositoryUrl = Annotated[str, AfterValidator(_repository_url)]
RepositoryName = Annotated[str, AfterValidator(_repository_name)]
Branch = Annotated[str, AfterValidator(_branch)]
EffectPattern = Annotated[str, Field(max_length=512), AfterValidator(_effect_pattern)]
Engine = Literal["script", "messages", "claude-code", "auto"]
