"""Canonical JSON, digests, ids and instants as text, and the chain that shows what was tampered with."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.contract.digest import (
    CHAIN_START,
    CROCKFORD,
    IdPrefix,
    canonical_json,
    digest_bytes,
    digest_of,
    digest_tree,
    first_broken_link,
    instant,
    is_id,
    link,
    new_id,
    parse_instant,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def turned(value: Any) -> Any:
    """The same value with every object's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


@given(value=JSON)
def test_canonical_json_reads_back_and_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(turned(value)) == text
    assert digest_of(turned(value)) == digest_of(value)
    assert "\n" not in text


def test_canonical_json_is_sorted_compact_and_not_escaped() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "ü\n"}) == '{"a":"ü\\n","b":[1,2.5,null,true]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_what_is_no_number_of_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), {"a": datetime(2026, 1, 1, tzinfo=UTC)}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


def test_a_digest_names_its_function_and_is_the_known_one() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_bytes(b"") == empty
    assert digest_of("") == digest_bytes(b'""')


def test_the_digest_of_a_folder_tells_names_and_contents_apart() -> None:
    trees: list[dict[str, bytes]] = [
        {},
        {"a": b""},
        {"a": b"b"},
        {"b": b"a"},
        {"a": b"", "b": b""},
        {"ab": b""},
        {"a/b": b""},
    ]
    digests = [digest_tree(tree) for tree in trees]
    assert len(set(digests)) == len(trees)
    assert digest_tree({"b": b"2", "a": b"1"}) == digest_tree({"a": b"1", "b": b"2"})


@pytest.mark.parametrize("prefix", get_args(IdPrefix))
def test_ids_are_fresh_well_formed_and_of_their_own_kind(prefix: IdPrefix) -> None:
    made = {new_id(prefix) for _ in range(200)}
    assert len(made) == 200
    for text in made:
        assert len(text) == len(prefix) + 22
        assert set(text[len(prefix) + 2 :]) <= set(CROCKFORD)
        assert [other for other in get_args(IdPrefix) if is_id(text, other)] == [prefix]
    # Every character of the alphabet comes up: nothing of the 100 bits is lost.
    assert {character for text in made for character in text[-20:]} == set(CROCKFORD)


GOOD_ID = "run_01" + "0123456789ABCDEFGHJK"


@pytest.mark.parametrize(
    "text",
    [
        "", "run_", GOOD_ID[:-1], GOOD_ID + "0", GOOD_ID + "\n", GOOD_ID.lower(), "run_02" + GOOD_ID[6:],
        GOOD_ID[:-1] + "I", GOOD_ID[:-1] + "L", GOOD_ID[:-1] + "O", GOOD_ID[:-1] + "U", " " + GOOD_ID,
        "trig_" + GOOD_ID[4:], GOOD_ID[:-1] + "\uff10",
    ],
)  # fmt: skip
def test_what_is_not_wholly_an_id_is_none(text: str) -> None:
    assert is_id(GOOD_ID, "run_")
    assert not is_id(text, "run_")


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=ZONES)  # noqa: DTZ001 - bounds


@given(moment=MOMENTS)
def test_an_instant_is_utc_to_the_millisecond_and_reads_back(moment: datetime) -> None:
    text = instant(moment)
    assert (len(text), text[10], text[-5], text[-1]) == (24, "T", ".", "Z")
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert parse_instant(text) == whole
    assert parse_instant(text).tzinfo is UTC
    assert instant(parse_instant(text)) == text


@given(moments=st.lists(MOMENTS, min_size=2, max_size=6))
def test_instants_sort_as_the_times_do(moments: list[datetime]) -> None:
    texts = [instant(moment) for moment in sorted(moments)]
    assert texts == sorted(texts)


def test_milliseconds_are_cut_off_not_rounded_up() -> None:
    assert instant(datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == "2026-12-31T23:59:59.999Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        instant(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused
    with pytest.raises(ValueError, match="no zone"):
        parse_instant("2026-01-01T00:00:00.000")
    for text in ("", "yesterday", "2026-13-01T00:00:00.000Z"):
        with pytest.raises(ValueError):
            parse_instant(text)


def chained(bodies: list[bytes]) -> list[tuple[bytes, str]]:
    """The bodies with their hashes, each from its predecessor's."""
    hashes = [CHAIN_START]
    for body in bodies:
        hashes.append(link(hashes[-1], body))
    return list(zip(bodies, hashes[1:], strict=True))


# Every body differs by its number: what stands in another's place cannot be the same by chance.
CHAINS = st.lists(st.binary(max_size=8), min_size=2, max_size=8).map(
    lambda bodies: chained([b"%d %s" % (number, body) for number, body in enumerate(bodies)])
)
PLACES = st.integers(0, 7)


def at(entries: list[tuple[bytes, str]], place: int) -> int:
    """A position in the chain."""
    return place % len(entries)


@given(entries=CHAINS)
def test_an_untouched_chain_is_whole(entries: list[tuple[bytes, str]]) -> None:
    assert first_broken_link(entries) is None
    assert all(after != before for (_, before), (_, after) in pairwise([(b"", CHAIN_START), *entries]))


@pytest.mark.promise("STO-3")
@given(entries=CHAINS, place=PLACES, bit=st.integers(0, 1000))
def test_a_flipped_bit_is_found_where_it_is(entries: list[tuple[bytes, str]], place: int, bit: int) -> None:
    here = at(entries, place)
    body, stored = entries[here]
    flipped = bytearray(body)
    flipped[bit // 8 % len(body)] ^= 1 << bit % 8
    assert first_broken_link([*entries[:here], (bytes(flipped), stored), *entries[here + 1 :]]) == here


@pytest.mark.promise("STO-3")
@given(entries=CHAINS, place=PLACES)
def test_a_deleted_entry_is_found_unless_it_was_the_last(
    entries: list[tuple[bytes, str]], place: int
) -> None:
    here = at(entries, place)
    left = [*entries[:here], *entries[here + 1 :]]
    # A cut-off tail leaves a whole chain: its head must be kept elsewhere (the seal).
    assert first_broken_link(left) == (here if here < len(left) else None)


@pytest.mark.promise("STO-3")
@given(entries=CHAINS, place=PLACES, body=st.binary(max_size=12))
def test_an_inserted_entry_is_found(entries: list[tuple[bytes, str]], place: int, body: bytes) -> None:
    here = at(entries, place)
    forged = (body, hashlib.sha256(body).hexdigest())
    assert first_broken_link([*entries[:here], forged, *entries[here:]]) == here
    before = entries[here - 1][1] if here else CHAIN_START
    fitting = (body, link(before, body))
    assume(fitting != entries[here])
    assert first_broken_link([*entries[:here], fitting, *entries[here:]]) == here + 1


@pytest.mark.promise("STO-3")
@given(entries=CHAINS, first=PLACES, second=PLACES)
def test_two_entries_in_each_other_s_place_are_found(
    entries: list[tuple[bytes, str]], first: int, second: int
) -> None:
    one = at(entries[1:], first)
    other = one + 1 + second % (len(entries) - 1 - one)
    swapped = list(entries)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert first_broken_link(swapped) == one
    only_bodies = list(entries)
    only_bodies[one] = (entries[other][0], entries[one][1])
    only_bodies[other] = (entries[one][0], entries[other][1])
    assert first_broken_link(only_bodies) == one


@given(entries=CHAINS)
def test_a_chain_goes_on_from_a_head_that_was_kept(entries: list[tuple[bytes, str]]) -> None:
    middle = len(entries) // 2
    start = entries[middle - 1][1] if middle else CHAIN_START
    assert first_broken_link(entries[middle:], start=start) is None
    assert first_broken_link(entries, start="1" * 64) == 0


def test_a_link_cannot_be_shifted_between_hash_and_body() -> None:
    assert link("ab", b"c") != link("a", b"bc")
