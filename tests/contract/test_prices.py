"""The price table: what calls cost, whose price is known, and what a table of one's own may say."""

from __future__ import annotations

import re

import pytest

from server.contract.prices import DEFAULT_MODEL, Tokens, as_of, known_models, price_of


def test_the_default_model_has_a_price_and_the_table_a_date() -> None:
    assert price_of(DEFAULT_MODEL) is not None
    assert DEFAULT_MODEL in known_models()
    assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", as_of())


def test_every_model_of_the_table_costs_more_to_write_than_to_read_and_least_from_the_cache() -> None:
    for name in known_models():
        price = price_of(name)
        assert price is not None
        for rates in filter(None, (price.rates, price.long_prompt)):
            assert 0 < rates.cache_read < rates.input < rates.cache_write < rates.cache_write_1h < rates.output


def test_each_kind_of_token_is_billed_at_its_own_rate() -> None:
    price = price_of("claude-sonnet-5-5")
    assert price is not None
    million = 1_000_000
    kinds = {"input": 2.0, "output": 10.0, "cache_write": 2.5, "cache_write_1h": 4.0, "cache_read": 0.1}
    for kind, dollars in kinds.items():
        assert price.dollars(Tokens(**{kind: million})) == pytest.approx(dollars)
    assert price.dollars(Tokens(million, million, million, million, million)) == pytest.approx(18.6)


def test_a_long_prompt_is_billed_at_its_rates_in_every_kind_cached_tokens_counted() -> None:
    price = price_of("claude-haiku-5-5")
    assert price is not None
    short, long = Tokens(input=50_000, cache_read=50_000, output=100), Tokens(
        input=50_001, cache_read=50_000, output=100
    )
    assert price.dollars(short) == pytest.approx((50_000 * 0.1 + 50_000 * 0.01 + 100 * 0.5) / 1e6)
    assert price.dollars(long) == pytest.approx((50_001 * 0.5 + 50_000 * 0.05 + 100 * 2.5) / 1e6)


def test_a_snapshot_costs_what_its_model_does_and_an_unknown_model_has_no_price() -> None:
    assert price_of("claude-haiku-4-5-20251001") == price_of("claude-haiku-4-5")
    assert price_of("claude-of-next-year") is None
    assert price_of("claude-haiku-4-5-2025") is None


def test_a_table_of_ones_own_comes_first_and_its_cache_costs_the_usual_shares() -> None:
    price = price_of("my-model", {"my-model": {"input": 4.0, "output": 8.0}})
    assert price is not None
    assert (price.rates.cache_write, price.rates.cache_write_1h, price.rates.cache_read) == (5.0, 8.0, 0.4)
    assert price_of(DEFAULT_MODEL, {DEFAULT_MODEL: {"input": 1.0, "output": 1.0}}) != price_of(DEFAULT_MODEL)
    with pytest.raises(ValueError, match="needs input and output"):
        price_of("my-model", {"my-model": {"input": 4.0}})
