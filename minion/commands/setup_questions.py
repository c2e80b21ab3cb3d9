"""The six questions of `minion setup`, in their order, and the trials that go with three of them."""

from __future__ import annotations

import contextlib
import shlex
import sys
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from minion.commands.context import hinting, shown_path
from minion.commands.questions import Questions, one_of, words_of
from minion.config import Home
from minion.engines.registry import (
    API_KEY,
    AUTO_CHOICE,
    ENGINES,
    INSTALLED,
    check_engine,
    has_model,
    needed_secret,
)
from minion.secrets_file import checked_value, secret_names
from minion.setup.answers import (
    SLACK_SECRETS,
    Answers,
    Standing,
    checked_dollars,
    checked_engine,
    checked_zone,
)
from minion.setup.first_routine import checked_name
from server.contract.refusals import BadUse, Refusal, TrialFailed


@dataclass(frozen=True, slots=True)
class Said:
    """What the flags say; None or empty where one was not given."""

    name: str | None
    timezone: str | None
    repo: tuple[str, ...]
    reports: str | None
    webhook_file: str | None
    arrived: str | None
    test_message: bool | None
    engine: str | None
    dollars_per_day: str | None
    dollars_per_month: str | None
    alerts: str | None
    alert_arg: tuple[str, ...]


@dataclass(slots=True)
class Sitting:
    """One set-up: what is there, what the flags say, who is asked; `wanted` grows answer by answer.

    `tested` is what was tried and how it went; `doubt` why the command ends with exit code 1 all the same.
    """

    home: Home
    before: Standing
    said: Said
    questions: Questions
    tested: dict[str, Any] = field(default_factory=lambda: {"repositories": [], "message": None, "alert": None})
    doubt: Refusal | None = None
    wanted: Answers = field(init=False)
    _given: str | None = field(default=None, init=False, repr=False)
    _arrived: dict[str, bool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.wanted = self.before.answers

    def answer_all(self) -> Answers:
        """Ask everything, try what can be tried, write nothing. Raises a `Refusal` or `KeyboardInterrupt`."""
        self._given = self._webhook_given()
        there = "is here already" if self.before.config is not None else "will be made"
        self.questions.say(f"The home {shown_path(self.home.root)} {there}. Enter keeps what is in brackets.\n")
        now, ask = self.before.answers, self.questions.settle
        name = ask("1/6  name of this minion", self.said.name, now.name, checked_name)
        zone = ask("2/6  time zone", self.said.timezone, now.timezone, _unless(now.timezone, checked_zone))
        self.wanted = replace(self.wanted, name=name, timezone=zone)
        self._repositories()
        self.questions.until_answered(self._reports)
        self.questions.until_answered(self._engine)
        self._caps()
        self.questions.until_answered(self._alerts)
        self.questions.say("")
        return self.wanted

    def _repositories(self) -> None:
        now = self.before.answers.repositories
        # A fresh home's default is an answer that nobody has tried yet.
        known = now if self.before.config is not None else ()

        def check(line: str) -> tuple[str, ...]:
            texts = words_of(line)
            if texts in (["none"], []):
                return ()
            from minion.setup.trials import checked_repositories

            if not set(texts) <= set(known):
                self.questions.say("     asking git …")
            urls = checked_repositories(texts, known)
            self.tested["repositories"] = [url for url in urls if url not in known]
            return urls

        default = shlex.join(now) or "none"
        said = shlex.join(self.said.repo) if self.said.repo else None
        words = "3/6  repositories it works on, paths or addresses with blanks between them"
        self.wanted = replace(self.wanted, repositories=self.questions.settle(words, said, default, check))

    def _reports(self) -> None:
        now = self.before.answers
        default = "slack" if self._given is not None and self.questions.asks else now.reports
        words = f"4/6  where reports go: outbox (files in {shown_path(self.home.outbox)}) or slack"
        where = self.questions.settle(words, self.said.reports, default, one_of("outbox", "slack"))
        if where == "outbox":
            self.wanted = replace(self.wanted, reports="outbox")
            return
        webhook = self._webhook()
        new = self.before.config is None or (now.webhook, now.reports) != (webhook, "slack")
        text = f"A test message of minion-hq: the reports of the minion {self.wanted.name} will come here."
        said = self._post("message", webhook, text) if self._is_due(new) else None
        if said is None or said["arrived"]:
            self.wanted = replace(self.wanted, reports="slack", webhook=webhook)
            return
        if now.webhook is None:  # kept aside, so that nobody has to look for it again
            self.wanted = replace(self.wanted, webhook=webhook)
        elif now.webhook == webhook:
            self.wanted = replace(self.wanted, reports="outbox")
        stay = "reports go to Slack as before" if self.wanted.reports == "slack" else "reports go to the outbox"
        self._doubt(said, stay, "minion setup --reports slack --arrived yes")

    def _engine(self) -> None:
        self.questions.say("5/6  which engine, and who pays for it")
        choices = (*ENGINES, AUTO_CHOICE)
        width = max(len(entry.name) for entry in choices)
        for entry in choices:  # two lines each, so that a narrow terminal cuts neither
            missing = entry is not AUTO_CHOICE and entry.module is None
            what = entry.what + (" (not in this version)" if missing else "")
            self.questions.say(f"     {entry.name:<{width}}  {what}\n     {'':<{width}}  who pays  {entry.pays}")
        now, asks = self.before.answers.engine, self.questions.asks
        default = now if now in (*INSTALLED, AUTO_CHOICE.name) or not asks else INSTALLED[0]
        kept = secret_names(self.home.secrets_file)

        def check(name: str) -> str:
            # A person is asked for the key next; nobody else is.
            with contextlib.ExitStack() as told:
                if self.before.config is None and needed_secret(name) is not None:
                    given = f"minion secret set {needed_secret(name)}"
                    then = f"set it up without, then {given}, then minion setup --engine {name}"
                    told.enter_context(hinting("engine_missing", then))
                return checked_engine(name, {*kept, API_KEY} if asks else kept)

        engine = self.questions.settle(
            "     which one", self.said.engine, default, check if asks else _unless(now, check)
        )
        if asks and needed_secret(engine) == API_KEY and API_KEY not in kept:
            line = self.questions.hidden("     its key, sk-ant-…, not shown as you type")
            if not line:  # refused as it is where nobody is asked
                check_engine(engine, lambda: kept)
            key = checked_value(API_KEY, line, in_header=True)
            self.wanted = replace(self.wanted, api_key=key)
        self.wanted = replace(self.wanted, engine=engine)

    def _caps(self) -> None:
        """What all runs together may spend; asked only where something costs."""
        costs = has_model(self.wanted.engine) or self.wanted.engine == AUTO_CHOICE.name

        def settled(said: str | None, now: float | None, words: str) -> float | None:
            if said is None and not (costs and self.questions.asks):
                return now
            line = f"     how many US dollars runs may spend {words}, or none for no cap"
            return self.questions.settle(line, said, spelled_cap(now), checked_dollars)

        now = self.before.answers
        a_day = settled(self.said.dollars_per_day, now.dollars_per_day, "a day")
        a_month = settled(self.said.dollars_per_month, now.dollars_per_month, "a month")
        self.wanted = replace(self.wanted, dollars_per_day=a_day, dollars_per_month=a_month)

    def _alerts(self) -> None:
        now = self.before.answers
        said = "command" if self.said.alert_arg and self.said.alerts is None else self.said.alerts
        if said in ("none", "slack") and self.said.alert_arg:
            says = f"--alert-arg does not go with --alerts {said}."
            raise BadUse("bad_command", says, hint="say --alerts command, or leave --alert-arg out")
        words = "6/6  who is told when a routine fails: none, slack or command"
        kinds = one_of("none", "slack", "command", now.alert_kind)
        kind = self.questions.settle(words, said, now.alert_kind, kinds)
        if kind == "slack":
            self._alert_slack()
        elif kind == "command":
            self._alert_command()
        else:
            self.wanted = replace(self.wanted, alerts=() if kind == "none" else now.alerts)

    def _alert_slack(self) -> None:
        now = self.before.answers
        reports = self.wanted.webhook if self.wanted.reports == "slack" else None
        webhook = self._given or reports or self._webhook()
        if self._arrived.get(webhook) is False:
            if self.questions.asks and self.said.alerts is None:
                raise TrialFailed("not_arrived", "Slack's test message did not arrive.", hint="choose another way")
            return  # the command ends by saying so; alerts stay as they were
        new = now.alert_kind != "slack" or webhook != now.webhook
        text = f"A test alert of minion-hq: here the minion {self.wanted.name} will say when a routine fails."
        said = self._post("alert", webhook, text) if self._is_due(new) else None
        if said is not None and not said["arrived"]:
            self.wanted = replace(self.wanted, webhook=self.wanted.webhook or webhook)
            self._doubt(said, "alerts stay as they were", "minion setup --alerts slack --arrived yes")
            return
        alerts = now.alerts if now.alert_kind == "slack" else ({"slack": SLACK_SECRETS[0]},)
        self.wanted = replace(self.wanted, alerts=alerts, webhook=webhook)

    def _alert_command(self) -> None:
        from minion.setup.trials import checked_command, performed

        now = self.before.answers
        current: list[str] = now.alerts[0]["command"] if now.alert_kind == "command" else []
        said = shlex.join(self.said.alert_arg) if self.said.alert_arg else None

        def check(line: str) -> list[str]:
            return current if current and line == shlex.join(current) else checked_command(words_of(line))

        if said is None and not current and not self.questions.asks:
            hint = "add --alert-arg PROGRAM, and again for each of its arguments"
            raise BadUse("no_command", "Alerts by a command need one.", hint=hint)
        example = shlex.join(current) or "notify-send 'a routine failed'"
        argv = self.questions.settle("     the command, run without a shell", said, example, check)
        if self._is_due(argv != current):
            self.questions.say(f"     running {shlex.join(argv)} …")
            alert = {"v": 1, "kind": "test", "minion": self.wanted.name, "text": "A test alert of minion-hq."}
            performed(argv, alert)
            self.questions.say("     it ended with exit code 0")
            self.tested["alert"] = {"exit_code": 0}
        self.wanted = replace(self.wanted, alerts=({"command": argv},))

    def _is_due(self, new: bool) -> bool:
        """Whether a trial takes place: for what is new, always, or never, as the flags say."""
        if self.said.test_message is not None:
            return self.said.test_message
        return new or self.said.arrived is not None

    def _post(self, kind: str, webhook: str, text: str) -> dict[str, Any]:
        from minion.setup.trials import posted

        self.questions.say(f"     posting a test {kind} to {_host(webhook)} …")
        answer = posted(webhook, text)
        self.questions.say(f"     {answer.host} answered: {answer.words}")
        if webhook not in self._arrived:
            # Slack's own `ok` is a delivery; what was merely taken needs somebody's eyes.
            sure = answer.state == "delivered"
            self._arrived[webhook] = self.questions.agreed("     did it arrive?", self.said.arrived, default=sure)
        arrived = self._arrived[webhook]
        self.tested[kind] = {
            "host": answer.host, "state": answer.state, "answer": answer.words, "arrived": arrived
        }  # fmt: skip
        return dict(self.tested[kind])

    def _doubt(self, said: dict[str, Any], stay: str, again: str) -> None:
        says = "The test message did not arrive"
        if said["state"] != "delivered" and self.said.arrived is None and not self.questions.asks:
            says = f"{said['host']} took the test message ({said['answer']}), but nothing shows that it arrived"
        look = "look in Slack which channel the webhook posts to"
        says = f"{says}: {stay}, all other answers are kept."
        self.doubt = TrialFailed("not_arrived", says, hint=f"{again}, once you see it; {look}")
        self.questions.say(f"     {look}, and whether its app is still installed")

    def _webhook(self) -> str:
        from minion.setup.trials import webhook_in

        known = self.before.answers.webhook
        if self._given is not None:
            return self._given
        if self.questions.asks:
            kept = f" [the one kept for {_host(known)}]" if known is not None else ""
            line = self.questions.hidden(f"     Slack's incoming webhook, not shown as you type{kept}")
            if line:
                return webhook_in(line)
        if known is None:
            asked = "paste it from Slack's page of incoming webhooks, or answer otherwise"
            flag = "give it with --slack-webhook-file FILE, or - for stdin; Slack has it at Incoming Webhooks"
            hint = asked if self.questions.asks else flag
            raise BadUse("no_webhook", "Slack needs the address of an incoming webhook.", hint=hint)
        return known

    def _webhook_given(self) -> str | None:
        """The webhook that a flag points at, read and checked before the first question."""
        file = self.said.webhook_file
        if file is None:
            return None
        from minion.setup.trials import LONGEST_WEBHOOK, webhook_file, webhook_in

        now = (self.before.answers.reports, self.before.answers.alert_kind)
        if not self.questions.asks and "slack" not in (self.said.reports or now[0], self.said.alerts or now[1]):
            says = "A webhook was given, but neither reports nor alerts go to Slack."
            raise BadUse("webhook_unused", says, hint="add --reports slack, or --alerts slack")
        if file != "-":
            return webhook_in(webhook_file(file))
        if sys.stdin.isatty():
            return webhook_in(self.questions.hidden("Slack's incoming webhook, not shown as you type"))
        return webhook_in(sys.stdin.buffer.read(LONGEST_WEBHOOK + 2))


def spelled_cap(dollars: float | None) -> str:
    """A cap as people write it."""
    return "none" if dollars is None else f"{dollars:g}"


def _host(webhook: str) -> str:
    return urllib.parse.urlsplit(webhook).hostname or ""


def _unless(kept: str, check: Callable[[str], str]) -> Callable[[str], str]:
    """The same check, but what is kept as it was is not checked again."""
    return lambda text: text if text == kept else check(text)
