"""The scripted Messages API says its script and nothing else, however and how often it is asked."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from tests.messages_api import MessagesApi, scripted, text, use

TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]
ASKED = {"model": "any", "max_tokens": 9, "tools": TOOLS, "messages": [{"role": "user", "content": "Look."}]}
CALLED = {**use("look", at="it"), "id": "toolu_0001"}


def post(
    api: MessagesApi, body: Any, path: str = "/v1/messages?beta=true", method: str = "POST"
) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(api.url).port, timeout=30)) as connection:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_a_turn_is_said_whole_and_again_when_it_is_asked_for_again() -> None:
    with scripted([text("I look."), use("look", at="it")]) as api:
        first, again = (json.loads(post(api, ASKED)[1]) for _ in range(2))
        assert first["content"] == again["content"] == [text("I look."), CALLED]
        assert (first["stop_reason"], len(api.asked)) == ("tool_use", 2)
        result = {"type": "tool_result", "tool_use_id": "toolu_0001", "content": [text("It is there.")]}
        more = [
            *ASKED["messages"], {"role": "assistant", "content": first["content"]},
            {"role": "system", "content": "Take care."}, {"role": "user", "content": [result]},
        ]  # fmt: skip
        last = json.loads(post(api, {**ASKED, "messages": more})[1])
        assert (last["content"], last["stop_reason"]) == ([text("Done.")], "end_turn")
        assert (api.results(), api.results(failed=True), api.tools()) == (["It is there."], [], ["look"])
        assert "Take care." in api.read()


def test_a_stream_says_the_same_as_events() -> None:
    with scripted([text("I look."), use("look", at="it")]) as api:
        status, body = post(api, {**ASKED, "stream": True})
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
        assert (status, events[0]["type"], events[-1]["type"]) == (200, "message_start", "message_stop")
        pieces = [each["delta"] for each in events if each["type"] == "content_block_delta"]
        assert (pieces[0]["text"], json.loads(pieces[1]["partial_json"])) == ("I look.", {"at": "it"})


def test_what_is_asked_beside_the_conversation_takes_no_turn() -> None:
    with scripted([text("I look.")]) as api:
        assert json.loads(post(api, ASKED, "/v1/messages/count_tokens")[1])["input_tokens"] > 0
        assert json.loads(post(api, {**ASKED, "tools": []})[1])["content"] == [text("Done.")]
        assert [post(api, None, "/x", method)[0] for method in ("HEAD", "GET", "POST")] == [200, 200, 404]
        assert (api.asked, api.paths[-1]) == ([], "POST /x")
        assert json.loads(post(api, ASKED)[1])["content"] == [text("I look.")]
