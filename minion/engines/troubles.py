"""What can go wrong with a model call, each with its own ending: the sentence, the hint, and what may follow.

Every trouble is one of `KINDS`. Some are worth another try at once, some can be gone on with later
(`minion resume`), the others end the task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from server.contract.prices import Tokens

Kind = Literal[
    "key_refused", "not_permitted", "no_credit", "unknown_model", "rate_limited", "overloaded", "api_error",
    "wrong_address", "connection_lost", "stream_cut", "context_overflow", "bad_request", "refused", "cut_off",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ending:
    """How a kind of trouble ends: `{model}`, `{run}`, `{words}` stand in `why` and `hint`.

    `again`: another try may help at once. `later`: the run can go on with it when the cause is gone.
    """

    why: str
    hint: str
    again: bool = False
    later: bool = False


_RESUME: Final = "then minion resume {run}"
KINDS: Final[Mapping[Kind, Ending]] = {
    "key_refused": Ending(
        "The API does not accept the key (401).", f"minion secret set anthropic_api_key, {_RESUME}", later=True
    ),
    "not_permitted": Ending(
        "The API does not let this key use {model} (403): {words}.",
        f"give the key's workspace the right to it, {_RESUME}; or choose another model", later=True,
    ),
    "no_credit": Ending(
        "The API account has no credit left: {words}.", f"add credit to it, {_RESUME}", later=True
    ),
    "unknown_model": Ending(
        "The API knows no model {model} (404).", "choose another: `model` of the routine, or --model"
    ),
    "rate_limited": Ending(
        "The API's rate limit is reached (429): {words}.", "minion resume {run}, once it has recovered",
        again=True, later=True,
    ),
    "overloaded": Ending(
        "The API is overloaded (529).", "minion resume {run}, a while later", again=True, later=True
    ),
    "api_error": Ending(
        "The API failed: {words}.", "minion resume {run}, a while later", again=True, later=True
    ),
    "wrong_address": Ending(
        "What answers is not the API: {words}.", f"mend `api_url` in minion.json, {_RESUME}", later=True
    ),
    "connection_lost": Ending(
        "The API cannot be reached: {words}.", "check the network and `api_url`, then minion resume {run}",
        again=True, later=True,
    ),
    "stream_cut": Ending(
        "The API's answer broke off: {words}.", "minion resume {run}, a while later", again=True, later=True
    ),
    "context_overflow": Ending(
        "The conversation no longer fits into {model}: {words}.",
        "have the routine do less in one run, or choose a model that holds more",
    ),
    "bad_request": Ending(
        "The API refused the request (400): {words}.", "minion logs {run} -v; report it if it is a defect"
    ),
    "refused": Ending(
        "{model} declined to go on{words}.", "look at what the routine asks for, and at what the run had read"
    ),
    "cut_off": Ending(
        "{model} did not come to the end of an answer within {words} tokens, three times in a row.",
        "have it write long texts in pieces; where less than 16,384 tokens were left, raise limits.dollars",
    ),
}  # fmt: skip


class Trouble(Exception):
    """A model call that came to no answer.

    `wait_s` are the seconds that the API asks to wait; `tokens` what the call had used by then, as far as known.
    """

    def __init__(
        self, kind: Kind, *, model: str, run: str, words: str = "", wait_s: float | None = None,
        tokens: Tokens | None = None,
    ) -> None:  # fmt: skip
        ending = KINDS[kind]
        said = {"model": model, "run": run, "words": words.rstrip(".") or "no reason given"}
        if kind == "refused":
            said["words"] = f": {words.rstrip('.')}" if words else ""
        super().__init__(ending.why.format(**said))
        self.kind = kind
        self.why = str(self)
        self.hint = ending.hint.format(**said)
        self.again = ending.again
        self.later = ending.later
        self.wait_s = wait_s
        self.tokens = tokens


# What the API calls its errors, in an error's body.
_BY_TYPE: Final[Mapping[str, Kind]] = {
    "authentication_error": "key_refused", "permission_error": "not_permitted", "billing_error": "no_credit",
    "not_found_error": "unknown_model", "rate_limit_error": "rate_limited", "overloaded_error": "overloaded",
    "request_too_large": "context_overflow", "api_error": "api_error", "timeout_error": "api_error",
}  # fmt: skip
_BY_STATUS: Final[Mapping[int, Kind]] = {
    401: "key_refused", 402: "no_credit", 403: "not_permitted", 404: "wrong_address", 413: "context_overflow",
    429: "rate_limited", 529: "overloaded",
}  # fmt: skip
_TOO_LONG: Final = ("prompt is too long", "context window", "exceed context limit", "input length and")


def kind_of(status: int, body: Any) -> tuple[Kind, str]:
    """The kind of trouble that an error response means, and the API's own words for it."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    type_, words = str(error.get("type") or ""), str(error.get("message") or "")
    if type_ == "invalid_request_error" or status == 400:
        low = words.lower()
        if any(sign in low for sign in _TOO_LONG):
            return "context_overflow", words
        return ("no_credit" if "credit balance" in low else "bad_request"), words
    kind = _BY_TYPE.get(type_) or _BY_STATUS.get(status)
    if 300 <= status < 400:
        return "wrong_address", f"it leads elsewhere (status {status})"
    if kind is None:
        kind = "api_error" if status >= 500 else "bad_request"
    return kind, words or f"status {status}"
