"""The routine: the file a person writes, its strict form, and the plain JSON a minion keeps of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from .documents import Document, DocumentPart
from .egress import MOST_PATTERNS
from .plain_words import shown, wrong
from .refusals import BadDocument
from .schedule import Schedule, is_dated, parse_schedule, restore_schedule
from .spelling import (
    LONGEST_CONTENT,
    Branch,
    Command,
    EffectPattern,
    Engine,
    Host,
    MinionId,
    ModelName,
    PipelineSkill,
    ProcessCode,
    RelativeGlob,
    RepositoryName,
    RepositoryUrl,
    RoutineId,
    SecretName,
    SetupScript,
    Slug,
    Target,
    Variable,
    VariableValue,
    ZoneName,
    is_host,
    repository_name,
)

MOST_TRIGGERS: Final = 20
# The word for the newest run of all: `show last`.
NEWEST: Final = "last"
MEBIBYTE: Final = 1024 * 1024
MONTH_S: Final = 31 * 86_400


class ScheduleTrigger(DocumentPart):
    """Fires by `cron` (five fields or a preset) in `timezone`, else in the routine's zone."""

    type: Literal["schedule"]
    cron: Annotated[str, Field(min_length=1, max_length=200)]
    timezone: ZoneName | None = None


class OnceTrigger(DocumentPart):
    """Fires once `at` an instant: local to `timezone` (else the routine's zone), or with its own offset."""

    type: Literal["once"]
    at: Annotated[str, Field(min_length=1, max_length=64)]
    timezone: ZoneName | None = None


Trigger = Annotated[ScheduleTrigger | OnceTrigger, Field(discriminator="type")]


class Repository(DocumentPart):
    """A repository to clone: an absolute path or address, the folder's name, and a branch or its default."""

    url: RepositoryUrl
    name: RepositoryName = ""
    branch: Branch | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> Repository:
        return self if self.name else self.model_copy(update={"name": repository_name(self.url)})


def _as_repository(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


NetworkWord = Literal["none", "trusted", "full"]


def _word_or_hosts(value: object) -> object:
    if (isinstance(value, list | tuple) and value) or value in get_args(NetworkWord):
        return value
    said = "an empty list" if isinstance(value, list | tuple) else shown(value)
    hint = f"write [{value}] for that one host" if is_host(value) else "write one of these words, or [example.com]"
    words = f"must be none, trusted, full or a list of hosts, not {said}"
    raise wrong("unknown_choice", words, hint)


Network = Annotated[
    Annotated[NetworkWord, Tag("word")]
    | Annotated[
        tuple[Host, ...],
        # Not strict: what has passed a function is no JSON any more, and a list is no tuple.
        Field(max_length=MOST_PATTERNS, strict=False, description="example.com, *.example.com, with :port or not"),
        Tag("list"),
    ],
    Discriminator(lambda value: "word" if isinstance(value, str) else "list"),
    BeforeValidator(_word_or_hosts),
]


class Environment(DocumentPart):
    """What an elastic block sees of the world: the network, variables added to an otherwise empty set, programs.

    `network`: no host, those of the trusted list (package registries, source hosts), hosts of one's own, or any
    public one. `setup` is a bash script, whose work in `/environment` is done once and kept for later runs.
    """

    network: Network = "none"
    env: Annotated[dict[Variable, VariableValue], Field(max_length=100)] = Field(default_factory=dict)
    setup: SetupScript | None = None

    @field_validator("setup")
    @classmethod
    def _blank_is_none(cls, script: str | None) -> str | None:
        return script if script is not None and script.strip() else None


class Limits(DocumentPart):
    """What the parent process enforces on one run: seconds, model turns, tokens, US dollars, bytes, processes.

    `output_bytes` is kept of each skill; `disk_bytes` is what the run's folder may grow to; `memory_bytes` (null:
    no cap) and `processes` count everything the run started.
    """

    wall_clock_s: Annotated[float, Field(ge=0.1, le=86_400)] = 3600.0
    turns: Annotated[int, Field(ge=1, le=10_000)] = 50
    tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 2_000_000
    dollars: Annotated[float, Field(ge=0, le=10_000)] = 1.0
    output_bytes: Annotated[int, Field(ge=1, le=16 * MEBIBYTE)] = 262_144
    processes: Annotated[int, Field(ge=8, le=100_000)] = 256
    disk_bytes: Annotated[int, Field(ge=MEBIBYTE, le=1024 * 1024 * MEBIBYTE)] = 2048 * MEBIBYTE
    memory_bytes: Annotated[int, Field(ge=64 * MEBIBYTE, le=1024 * 1024 * MEBIBYTE)] | None = None


class Watch(DocumentPart):
    """When people are told of a routine, and when it pauses itself.

    `failures` in a row are needed before somebody is told, `pause_after` so many it pauses (null: never).
    `cost_rise`: told when runs cost this many times what they did (null: never). `ping`: the secret that holds
    the address of a dead-man's switch, called after each run, because a dead daemon tells nobody.
    """

    failures: Annotated[int, Field(ge=1, le=100)] = 1
    pause_after: Annotated[int, Field(ge=1, le=100)] | None = None
    cost_rise: Annotated[float, Field(ge=1.5, le=100)] | None = 3.0
    ping: SecretName | None = None


class _ExactlyOne(DocumentPart):
    """A mapping that gives exactly one of its keys."""

    @model_validator(mode="after")
    def _gives_exactly_one(self) -> _ExactlyOne:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            keys = ", ".join(type(self).model_fields)
            raise wrong(
                "not_exactly_one", f"must have exactly one of {keys}", "give each an entry of its own"
            )
        return self


class Expectation(_ExactlyOne):
    """One check by the runner, without which a run is at best `unchecked` (DECISIONS "Verdict")."""

    delivered: Target | None = None
    file: RelativeGlob | None = None
    command: Command | None = None
    contains: Annotated[str, Field(min_length=1, max_length=4096)] | None = None


class Notice(_ExactlyOne):
    """One way to tell people that a run needs them: a Slack webhook by its secret's name, or a command."""

    slack: SecretName | None = None
    command: Command | None = None


class Routine(Document):
    """Standing work for Claude, as a person writes it down (DESIGN §2, DECISIONS "Routine and skills").

    `content` is the prompt, or the context of a pipeline; at least one of the two is required. Blank content
    counts as none. `repositories` null means "not said". Times are in seconds. `lock: strict`: after a change of
    its skills, engine or model the routine waits for a person. `resume`: an interrupted run may be continued.
    """

    name: Slug
    id: RoutineId | None = None
    minion_id: MinionId | None = None
    content: Annotated[str, Field(max_length=LONGEST_CONTENT)] | None = None
    pipeline: Annotated[tuple[PipelineSkill, ...], Field(max_length=50)] = ()
    cron_expression: Annotated[str, Field(max_length=200)] | None = None
    timezone: ZoneName | None = None
    triggers: Annotated[tuple[Trigger, ...], Field(max_length=MOST_TRIGGERS)] = ()
    scheduled_by: Literal["minion", "hq"] = "minion"
    repositories: (
        Annotated[tuple[Annotated[Repository, BeforeValidator(_as_repository)], ...], Field(max_length=20)]
        | None
    ) = None
    connectors: Annotated[tuple[Slug, ...], Field(max_length=50)] = ()
    environment: Environment = Environment()
    model: ModelName | None = None
    engine: Engine | None = None
    process: ProcessCode = "040.001"
    limits: Limits = Limits()
    expect: Annotated[tuple[Expectation, ...], Field(max_length=20)] = ()
    notify: Annotated[tuple[Notice, ...], Field(max_length=20)] = ()
    effects: Annotated[tuple[EffectPattern, ...], Field(max_length=50)] | None = None
    sandbox: Literal["required", "none"] = "required"
    overlap: Literal["skip", "queue", "allow"] = "skip"
    catch_up: Literal["latest", "window", "none"] = "latest"
    catch_up_window_s: Annotated[int, Field(ge=1, le=MONTH_S)] | None = None
    stagger_s: Annotated[int, Field(ge=0, le=3600)] = 0
    watch: Watch = Watch()
    lock: Literal["record", "strict"] = "record"
    resume: bool = False
    paused: bool = False
    report_to_hq: Literal["none", "summary", "steps"] = "summary"

    @field_validator("name")
    @classmethod
    def _is_no_other_word(cls, name: str) -> str:
        if name == NEWEST:
            says = f"must not be {NEWEST}, which means the newest run wherever a run is named"
            raise wrong("reserved_name", says, f"choose another, such as {NEWEST}-review")
        return name

    @field_validator("content")
    @classmethod
    def _blank_is_none(cls, content: str | None) -> str | None:
        return content if content is not None and content.strip() else None

    @field_validator("cron_expression")
    @classmethod
    def _blank_cron_is_refused(cls, expression: str | None) -> str | None:
        if expression is not None and not expression.strip():
            raise wrong("blank_schedule", "must not be blank", "write null for a routine that runs on demand")
        return expression

    @field_validator("repositories")
    @classmethod
    def _names_are_unique(cls, repositories: tuple[Repository, ...] | None) -> tuple[Repository, ...] | None:
        # Some file systems do not tell capitals apart, and each name becomes a folder.
        names = [repository.name.lower() for repository in repositories or ()]
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise wrong(
                "duplicate_name", f"has two repositories named {twice}", "give one of them another `name`"
            )
        return repositories

    @model_validator(mode="after")
    def _fits_together(self) -> Routine:
        if self.content is None and not self.pipeline:
            raise wrong(
                "nothing_to_do",
                "is required when there is no pipeline",
                "write the prompt as `content`, or list skills in `pipeline`",
                at="content",
            )
        if (self.catch_up == "window") != (self.catch_up_window_s is not None):
            raise wrong(
                "window_mismatch",
                "and `catch_up: window` need each other",
                "give both, or neither",
                at="catch_up_window_s",
            )
        if self.sandbox == "none" and self.environment.network not in ("none", "full"):
            raise wrong(
                "network_needs_sandbox",
                "needs the sandbox, which alone can hold a run to some hosts",
                "leave `sandbox` out, or write `network: full`",
                at="environment.network",
            )
        if len(_triggers(self)) > MOST_TRIGGERS:
            raise wrong(
                "out_of_range",
                f"must have at most {MOST_TRIGGERS} entries, cron_expression included",
                "split the routine",
                at="triggers",
            )
        return self


def admitted(routine: Routine) -> dict[str, Any]:
    """The plain JSON a minion keeps: every default written out, `triggers` complete and without repeats.

    `cron_expression` stays as written and is the first trigger too; a trigger without a time zone gets the
    routine's. Admitting the result again gives the same result.
    """
    plain = routine.model_dump(mode="json")
    plain["triggers"] = [trigger.model_dump(mode="json") for trigger in _triggers(routine)]
    plain["expect"] = [each.model_dump(mode="json", exclude_none=True) for each in routine.expect]
    plain["notify"] = [each.model_dump(mode="json", exclude_none=True) for each in routine.notify]
    return plain


def check_schedules(
    routine: Routine, *, default_zone: str, now: datetime, past: bool = False
) -> list[Schedule]:
    """The schedule of each trigger in the order of `admitted`, or `BadDocument` that names the field.

    `default_zone` (IANA) is for triggers without a zone; `now` is aware UTC. With `past` an instant may have
    passed, as for a routine that was admitted before it did. Refused besides what `parse_schedule` refuses: an
    instant given as a cron, and a cron given as an instant.
    """
    if routine.timezone is not None:
        try:
            restore_schedule("@daily", routine.timezone)
        except BadDocument as refusal:
            raise _naming(routine, "timezone", refusal) from None
    schedules = []
    for trigger, path in _triggers(routine).items():
        once = isinstance(trigger, OnceTrigger)
        expression = trigger.at if isinstance(trigger, OnceTrigger) else trigger.cron
        field = path if path == "cron_expression" else f"{path}.{'at' if once else 'cron'}"
        if once and not is_dated(expression):
            raise _of_another_kind(routine, field, expression, once=True)
        try:
            zone = trigger.timezone or default_zone
            over = past and once
            schedule = restore_schedule(expression, zone) if over else parse_schedule(expression, zone, now=now)
        except BadDocument as refusal:
            field = f"{path}.timezone" if refusal.code == "unknown_zone" and trigger.timezone else field
            raise _naming(routine, field, refusal) from None
        if schedule.one_shot != once:
            raise _of_another_kind(routine, field, expression, once=once)
        schedules.append(schedule)
    return schedules


def _of_another_kind(routine: Routine, field: str, expression: str, *, once: bool) -> BadDocument:
    kind = "an instant, such as 2026-12-01T09:00" if once else "a cron expression"
    return BadDocument(
        "bad_schedule",
        f"{routine.name}: `{field}` must be {kind}, not {shown(expression)}.",
        hint="write {type: once, at: 2026-12-01T09:00}, or {type: schedule, cron: 0 9 * * *}",
    )


def _triggers(routine: Routine) -> dict[ScheduleTrigger | OnceTrigger, str]:
    """Each trigger once, with its zone, and the path at which it was written first."""
    zone = routine.timezone
    found: dict[ScheduleTrigger | OnceTrigger, str] = {}
    if routine.cron_expression is not None:
        shorthand = ScheduleTrigger(type="schedule", cron=routine.cron_expression, timezone=zone)
        found[shorthand] = "cron_expression"
    for position, trigger in enumerate(routine.triggers):
        complete = trigger.model_copy(update={"timezone": trigger.timezone or zone})
        found.setdefault(complete, f"triggers[{position}]")
    return found


def _naming(routine: Routine, field: str, refusal: BadDocument) -> BadDocument:
    sentence = refusal.sentence[:1].lower() + refusal.sentence[1:]
    return BadDocument(refusal.code, f"{routine.name}: `{field}`: {sentence}", hint=refusal.hint)
