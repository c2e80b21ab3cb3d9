"""The tools of routines and their runs: standing work is created, looked at, started, explained and called off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from server.actions import cancel, fire, publish
from server.actions.explain import asked
from server.actions.explain import explain_routine as explained
from server.actions.rotate import rotate_routine_token as rotate
from server.contract.run import RunState
from server.tools import routine_views as views
from server.tools.access import SESSION, WORKING
from server.tools.ledger_tools import Key, RunText
from server.tools.mcp_server import ADDS, ENDS, READS, REPEATS
from server.tools.minion_views import minions

if TYPE_CHECKING:
    from server.actions.desk import Desk
    from server.tools.mcp_server import HqServer

RoutineText = Annotated[str, Field(max_length=100, description="Name, id or id prefix.")]
MinionText = Annotated[str, Field(max_length=100, description="Name or id.")]
Fields = dict[str, Any]
Entries = tuple[dict[str, Any], ...]
NONE: Final[Fields] = {}
# The other fields of a routine's document.
_OPTIONS: Final = (
    "connectors, environment, model, process, overlap, catch_up, catch_up_window_s, stagger_s, watch, lock, "
    "resume, sandbox, scheduled_by, report_to_hq."
)


def offer_routines(server: HqServer, desk: Desk) -> None:
    """Register the tools of routines and runs."""
    _offer_creating(server, desk)
    _offer_looking(server, desk)
    _offer_changing(server, desk)
    _offer_runs(server, desk)


def _offer_creating(server: HqServer, desk: Desk) -> None:
    @server.offer(
        SESSION, ADDS,
        "Create a routine: standing work that runs on the user's own machine and survives closing Claude. Give "
        "content (the prompt), pipeline (skills), or both. Answers whether it will fire, when next, on what, and "
        "who is told when it fails: tell the user.",
    )  # fmt: skip
    async def create_routine(
        name: Annotated[str, Field(description="Such as morning-report.")],
        content: str = "",
        pipeline: tuple[str, ...] = (),
        cron_expression: Annotated[str, Field(description="Five fields, @daily …; none: on demand.")] = "",
        timezone: Annotated[str, Field(description="IANA; else its minion's.")] = "",
        triggers: Annotated[
            Entries, Field(description='More: {"type":"schedule","cron"}, {"type":"once","at"}.')
        ] = (),
        repositories: Annotated[
            Entries | None, Field(description='{"url","name"?,"branch"?}; null: the minion\'s, []: none.')
        ] = None,
        effects: Annotated[
            tuple[str, ...] | None, Field(description="May write: message:slack, push:REPO:claude/*, file:GLOB.")
        ] = None,
        expect: Annotated[
            Entries, Field(description="Checks, one key each: delivered, file, contains, command.")
        ] = (),
        notify: Annotated[Entries, Field(description='On failure: {"slack":SECRET_NAME}, {"command":[…]}.')] = (),
        limits: Annotated[Fields, Field(description="wall_clock_s, turns, tokens, dollars …")] = NONE,
        engine: Annotated[str, Field(description="script, messages, claude-code, auto.")] = "",
        paused: bool = False,
        options: Annotated[Fields, Field(description=f"Also: {_OPTIONS}")] = NONE,
        minion: MinionText = "",
        client_key: Key = None,
    ) -> dict[str, Any]:
        said = {
            "content": content, "pipeline": pipeline, "cron_expression": cron_expression, "timezone": timezone,
            "triggers": triggers, "expect": expect, "notify": notify, "limits": limits, "engine": engine,
            "paused": paused,
        }  # fmt: skip
        # What was not said keeps its default; of these two an empty list says something else than nothing.
        fields = {**options, **{key: value for key, value in said.items() if value}, "name": name}
        listed = {"repositories": repositories, "effects": effects}
        fields |= {key: value for key, value in listed.items() if value is not None}
        made = await desk.do(publish.create_routine, fields, minion=minion or None, client_key=client_key)
        return {**made, "minion_says": await asked(desk, made)}


def _offer_looking(server: HqServer, desk: Desk) -> None:
    @server.offer(SESSION, READS, "List minions: when seen, what runs, what is due, slots at risk, troubles.")
    async def list_minions() -> dict[str, Any]:
        return await desk.read(minions, now=desk.clock())

    @server.offer(WORKING, READS, "List routines by name: next instant, whether it fires, last verdict.")
    async def list_routines(
        minion: MinionText = "", limit: Annotated[int, Field(ge=1, le=200)] = 100,
        skip: Annotated[int, Field(ge=0)] = 0,
    ) -> dict[str, Any]:  # fmt: skip
        return await desk.read(views.routines, minion=minion, limit=limit, skip=skip, now=desk.clock())

    @server.offer(SESSION, READS, "Show a routine whole: its document, and whether and when it will fire.")
    async def get_routine(routine: RoutineText) -> dict[str, Any]:
        return await desk.read(views.routine, routine, now=desk.clock())

    @server.offer(SESSION, READS, "Ask its minion why a routine did not run or will not, and what to do.")
    async def explain_routine(
        routine: RoutineText, at: Annotated[str, Field(max_length=40, description="Such as 9:00.")] = ""
    ) -> dict[str, Any]:
        return await explained(desk, routine, at=at or None)


def _offer_changing(server: HqServer, desk: Desk) -> None:
    @server.offer(
        SESSION, REPEATS,
        "Change these fields of a routine alone, or move it. Answers as create_routine; `moving`: tell the user.",
    )
    async def update_routine(
        routine: RoutineText,
        changes: Annotated[Fields, Field(description='Such as {"paused":true}; null where it may be.')] = NONE,
        minion: Annotated[str, Field(max_length=100, description="Another one is to have it.")] = "",
        client_key: Key = None,
    ) -> dict[str, Any]:
        after = await desk.do(
            publish.update_routine, routine, changes, minion=minion or None, client_key=client_key
        )
        return {**after, "minion_says": await asked(desk, after)}

    @server.offer(SESSION, ENDS, "Delete a routine; its runs stay, those that wait are cancelled, its tokens end.")
    async def delete_routine(routine: RoutineText, client_key: Key = None) -> dict[str, Any]:
        return await desk.do(publish.delete_routine, routine, client_key=client_key)

    @server.offer(SESSION, ADDS, "Make a new token that fires this routine alone; the one before stays good.")
    async def rotate_routine_token(routine: RoutineText) -> dict[str, Any]:
        return await desk.do(rotate, routine)


def _offer_runs(server: HqServer, desk: Desk) -> None:
    @server.offer(SESSION, ADDS, "Run a routine now on its minion, paused or not. Answers the run's id at once.")
    async def run_routine(
        routine: RoutineText,
        text: Annotated[str, Field(max_length=65_536, description="Context, handed on as untrusted.")] = "",
        client_key: Key = None,
    ) -> dict[str, Any]:
        return await desk.do(fire.run_routine, desk.processes, routine, text=text, client_key=client_key)

    @server.offer(WORKING, READS, "List runs, newest first.")
    async def list_runs(
        routine: RoutineText = "", state: RunState | None = None, limit: Annotated[int, Field(ge=1, le=200)] = 20,
        before: Annotated[int | None, Field(description="The answer's `before`: older ones.")] = None,
    ) -> dict[str, Any]:  # fmt: skip
        return await desk.read_swept(views.runs, text=routine, state=state, limit=limit, before=before)

    @server.offer(WORKING, READS, "Show a run whole: blocks with steps, topology, drift, first difference, chain.")
    async def get_run(
        run: RunText, after: Annotated[int, Field(ge=0, description="The answer's `after`: more steps.")] = 0
    ) -> dict[str, Any]:
        return await desk.read_swept(views.run, run, after=after)

    @server.offer(WORKING, ENDS, "Cancel a run: at once while it waits, else its minion stops it (`cancelling`).")
    async def cancel_run(
        run: RunText, why: Annotated[str, Field(max_length=1000)] = "", client_key: Key = None
    ) -> dict[str, Any]:
        return await desk.do(cancel.cancel_run, run, why=why, client_key=client_key)
