"""What minion.json may say of models, prices and money, and that anything else names its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.contract.prices import price_of
from server.contract.refusals import BadDocument
from tests.minion.test_config import GOOD, loaded

OWN_PRICE = {"input": 1, "output": 2.5, "cache_read": 0, "long_prompt": {"over": 200_000, "input": 2, "output": 5}}


def test_what_models_cost_and_what_runs_may_spend_can_be_said(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "engine": "auto", "model": "claude-opus-5-5", "prices": {"my-model": OWN_PRICE},
        "api_url": "http://127.0.0.1:8080", "dollars_per_day": 0, "dollars_per_month": None,
    }  # fmt: skip
    config = loaded(tmp_path, GOOD | more)
    assert {name: getattr(config, name) for name in more} == more
    assert loaded(tmp_path, config.as_data()) == config
    price = price_of("my-model", config.prices)
    assert price is not None
    assert [price.of(tokens).output for tokens in (10, 300_000)] == [2.5, 5.0]
    usual = loaded(tmp_path, GOOD)
    assert (usual.model, usual.prices, usual.api_url) == (None, {}, None)
    assert (usual.dollars_per_day, usual.dollars_per_month) == (5.0, 50.0)


@pytest.mark.parametrize(
    "address",
    ["https://api.example.com", "https://proxy.example.com:8443/anthropic", "http://localhost:1", "http://[::1]:8"],
)
def test_an_api_s_address_is_secret_on_its_way_or_on_this_machine(tmp_path: Path, address: str) -> None:
    assert loaded(tmp_path, GOOD | {"api_url": address}).api_url == address


@pytest.mark.promise("DOC-2")
@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"engine": "gpt"}, "`engine` is none of the engines"),
        ({"engine": None}, "`engine`"),
        ({"model": ""}, "`model` is no name"),
        ({"model": "two words"}, "`model`"),
        ({"model": 5}, "`model`"),
        ({"prices": []}, "`prices` is no object"),
        ({"prices": {"two words": OWN_PRICE}}, "`prices` has 'two words'"),
        ({"prices": {"m": 3}}, "`prices` of m needs input and output"),
        ({"prices": {"m": {"input": 1}}}, "`prices` of m needs input and output"),
        ({"prices": {"m": {"input": 1, "output": "2"}}}, "`prices` of m has 'output'"),
        ({"prices": {"m": {"input": 1, "output": -2}}}, "`prices` of m has 'output'"),
        ({"prices": {"m": {"input": True, "output": 2}}}, "`prices` of m has 'input'"),
        ({"prices": {"m": {"input": 1, "output": float("nan")}}}, "`prices` of m has 'output'"),
        ({"prices": {"m": {"input": 1, "output": 2, "per_call": 1}}}, "`prices` of m has 'per_call'"),
        ({"prices": {"m": OWN_PRICE | {"long_prompt": {"input": 1, "output": 2}}}}, "long_prompt without `over`"),
        ({"prices": {"m": OWN_PRICE | {"long_prompt": {"over": 9}}}}, "`prices` of m needs input and output"),
        ({"prices": {"m": OWN_PRICE | {"long_prompt": None}}}, "long_prompt without `over`"),
        ({"api_url": "api.example.com"}, "`api_url`"),
        ({"api_url": "http://api.example.com"}, "`api_url` must begin with https://"),
        ({"api_url": "http://127.0.0.1.example.com"}, "`api_url` must begin with https://"),
        ({"api_url": "ftp://127.0.0.1"}, "`api_url` must begin with https://"),
        ({"api_url": "https://me:secret@example.com"}, "`api_url` is no plain address"),
        ({"api_url": "https://example.com/?key=1"}, "`api_url` is no plain address"),
        ({"api_url": "https://example.com:99999"}, "`api_url` is no address"),
        ({"api_url": "https://exa mple.com"}, "`api_url`"),
        ({"api_url": 5}, "`api_url`"),
        ({"dollars_per_day": -0.01}, "`dollars_per_day` is no number of US dollars"),
        ({"dollars_per_day": float("inf")}, "`dollars_per_day`"),
        ({"dollars_per_month": "50"}, "`dollars_per_month`"),
        ({"dollars_per_month": True}, "`dollars_per_month`"),
    ],
)
def test_money_and_models_that_are_said_wrongly_are_refused_with_the_field_named(
    tmp_path: Path, said: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadDocument) as caught:
        loaded(tmp_path, GOOD | said)
    assert caught.value.code == "bad_config"
    assert named in caught.value.sentence
    assert caught.value.sentence.count(". ") == 0
