"""What can be done about what stands under the cursor, on whichever screen: run, cancel, pause, decide, redeliver.

A decision is typed; what cannot be undone is asked about first; what can is done at once.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from minion.spelling import decision_words
from minion.terminal import login_name
from minion.tui.aside import aside
from minion.tui.lines import text
from minion.tui.program import Program, Subject
from server.contract.refusals import Refusal

if TYPE_CHECKING:
    from minion.store.overview import Reader

UNDER_WAY = ("queued", "running", "waiting")


class Deeds(Screen[None]):
    """The keys that do something. A screen says what its `subject` is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "why", "why"),
        Binding("r", "run_now", "run"),
        Binding("c", "cancel_run", "cancel"),
        Binding("p", "pause", "pause"),
        Binding("d", "decide", "decide"),
        Binding("R", "redeliver", "redeliver", show=False),
        Binding("H", "halt", "halt"),
    ]

    @property
    def minion(self) -> Program:
        """The program this is a screen of."""
        return cast("Program", self.app)

    @property
    def standing(self) -> Mapping[str, Any] | None:
        """How the minion stands, as `minion status` has it; None where that is not known."""
        return self.minion.snapshot.document if self.minion.snapshot is not None else None

    @property
    def subject(self) -> Subject:
        """What stands under the cursor."""
        return Subject()

    def say(self, sentence: str) -> None:
        """Say why a key does nothing here."""
        self.notify(sentence, severity="warning", markup=False)

    def begin(self, deed: Coroutine[Any, Any, Any]) -> None:
        """Do something that asks first, or takes a while, beside the keys."""
        self.run_worker(deed, group="deed")

    def action_why(self) -> None:
        """Say why the routine did not run, or not well."""
        if (name := self.subject.routine) is None:
            return self.say("There is no routine under the cursor.")
        self.minion.show_why(name)
        return None

    def action_run_now(self) -> None:
        """Run the routine now, once it was confirmed."""
        if (name := self.subject.routine) is None:
            return self.say("There is no routine under the cursor.")
        return self.begin(self._run_now(name))

    async def _confirmed(self, question: str, consequence: str) -> bool:
        from minion.tui.screens.asking import Confirm  # what nobody sees at first is loaded when it is needed

        return await self.app.push_screen_wait(Confirm(question, consequence))

    async def _run_now(self, name: str) -> None:
        says = "What it does outside is done: messages are sent, branches pushed. Its limits hold."
        if await self._confirmed(f"Run {name} now?", says):
            said = {"routine": name, "detach": True, "engine": None, "input": None, "repository": None}
            await self.minion.steering.ask("run", said, done=f"{name} was started.")

    def action_cancel_run(self) -> None:
        """Cancel the run under the cursor, or the one of its routine that goes on."""
        run = self._going_on()
        if run is None:
            return self.say("Nothing of this is running.")
        return self.begin(self._cancel(*run))

    def _going_on(self) -> tuple[str, str] | None:
        """The run to be cancelled, and its routine."""
        said = self.standing
        if said is None:
            return None
        subject = self.subject
        live = {run["run"]: run["routine"] for run in (*said["running"], *said["waiting"]) if run["run"]}
        if subject.run is not None:
            return (subject.run, live[subject.run]) if subject.run in live else None
        return next(((run, name) for run, name in live.items() if name == subject.routine), None)

    async def _cancel(self, run: str, name: str) -> None:
        says = "What it started is ended with it. Nothing of it is sent or pushed any more."
        if await self._confirmed(f"Cancel the run of {name}?", says):
            said = {"run": run, "why": f"cancelled by {login_name()}"}
            await self.minion.steering.ask("cancel", said, done=f"The run of {name} was cancelled.")

    def action_pause(self) -> None:
        """Pause the routine, or let it go on; the same key takes it back."""
        item = self._routine(self.subject.routine)
        if item is None or item["id"] is None:
            return self.say("There is no routine under the cursor.")
        verb, done = ("resume", "goes on") if item["paused"] else ("pause", "is paused")
        name = item["name"]
        asked = self.minion.steering.ask(verb, {"name": name}, done=f"{name} {done}; p takes it back.")
        return self.begin(asked)

    def _routine(self, name: str | None) -> Mapping[str, Any] | None:
        said = self.standing
        items = said["routines"] if said is not None else []
        return next((each for each in items if each["name"] == name), None)

    def action_redeliver(self) -> None:
        """Send again what a run made and could not deliver."""
        if (run := self.subject.run) is None:
            return self.say("There is no run under the cursor.")
        return self.begin(self._redeliver(run))

    async def _redeliver(self, run: str) -> None:
        says = "What did not arrive is sent again as it was made; nothing is made anew, and what arrived stays."
        if await self._confirmed("Deliver it again?", says):
            answer = await self.minion.steering.ask("redeliver", {"run": run, "by": login_name()}, done="")
            if answer is not None:
                self.notify(f"{answer['routine']}: {answer['verdict']} now.", markup=False)

    def action_halt(self) -> None:
        """The kill switch, or its end."""
        self.begin(self._halt())

    async def _halt(self) -> None:
        said = self.standing
        if said is not None and said["halted"] is not None:
            if await self._confirmed("Let the minion go on?", "Routines start on time again."):
                await self.minion.steering.ask("unhalt", {}, done="The minion goes on.")
            return
        says = "What runs is cancelled, and nothing starts until H is pressed again, also after a restart."
        if await self._confirmed("Halt everything?", says):
            asked = {"why": f"halted by {login_name()}", "let_finish": False}
            await self.minion.steering.ask("halt", asked, done="The minion is halted; H lets it go on.")

    def action_decide(self) -> None:
        """Answer what waits for a person: a decision, or an effect that nobody knows the end of."""
        subject = self.subject
        if subject.effect is not None:
            return self.begin(self._settle(subject.effect))
        return self.begin(self._decide(subject))

    async def _decide(self, subject: Subject) -> None:
        open_ones = self.standing["decisions"] if self.standing is not None else []
        named = [item for item in open_ones if item["id"] == subject.decision]
        wanted = (named or [item for item in open_ones if item["routine"] == subject.routine])[:1]
        if not wanted and subject.decision is None:
            return self.say("Nothing waits for a decision here.")
        decision = wanted[0]["id"] if wanted else str(subject.decision)
        question = wanted[0]["question"] if wanted else "What changed was rejected. Approve it after all?"
        from minion.store.decisions import changes_of
        from minion.tui.screens.asking import Deciding

        try:
            changes = await aside(lambda: self.minion.reading.read(lambda db: changes_of(db, decision)))
        except Refusal as refusal:
            return self.say(refusal.sentence)
        words = decision_words(wanted[0]["kind"] if wanted else "lock")
        answer = await self.app.push_screen_wait(Deciding(
            question, [_changed(name, change) for name, change in changes.items()],
            yes=f"approve: {words.yes}", no=f"reject: {words.no}" if wanted else None,
        ))  # fmt: skip
        if answer is not None:
            word = "approve" if answer == "y" else "reject"
            said = {"decision": decision, "answer": word, "by": login_name()}
            await self.minion.steering.ask("decide", said, done=f"Decided: {word}.")
        return None

    async def _settle(self, effect: str) -> None:
        from minion.store.overview import unsettled_effects
        from minion.tui.screens.asking import Deciding

        def look(db: Reader) -> list[dict[str, Any]]:
            return [item for item in unsettled_effects(db) if item["id"] == effect]

        try:
            found = await aside(lambda: self.minion.reading.read(look))
        except Refusal as refusal:
            return self.say(refusal.sentence)
        if not found:
            return self.say("Of this effect it is known what became of it.")
        item = found[0]
        evidence = [text(f"{name}  {item[name]}") for name in ("kind", "target", "destination", "since", "detail")
                    if item[name]]  # fmt: skip
        answer = await self.app.push_screen_wait(Deciding(
            f"Did it arrive? {item['kind']}:{item['target']} of {item['routine']}", evidence,
            yes="it arrived: it counts as delivered", no="it did not arrive: it counts as failed",
        ))  # fmt: skip
        if answer is not None:
            state = "delivered" if answer == "y" else "failed"
            said = {"effect": effect, "state": state, "why": None, "by": login_name()}
            await self.minion.steering.ask("settle", said, done=f"Settled: {state}.")
        return None


def _changed(name: str, change: Mapping[str, str | None]) -> Content:
    before, after = (str(change[side] or "not there")[:26] for side in ("from", "to"))
    return text(f"{name}: {before} → {after}")
