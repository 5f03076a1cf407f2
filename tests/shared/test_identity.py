"""Two requests are the same if their inputs are; and a turn's name cannot be forged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnwire.shared.errors import BadRequest
from turnwire.shared.events import Cursor, Entry, encode_event, is_terminal
from turnwire.shared.given_names import turn_index
from turnwire.shared.identity import canonical_json, input_hash, worker_id
from turnwire.shared.keys import MAX_TURN_INDEX, SessionKey, TurnKey, session_key

KEY = session_key("demo").turn(0)
HASH: dict[str, Any] = {"message": "hi", "project": None, "domain": None, "model": None}
WORDS = st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)


def test_c23_equal_objects_have_equal_bytes_whatever_the_order_of_their_keys():
    assert canonical_json({"b": 1, "a": {"d": 2, "c": 3}}) == canonical_json({"a": {"c": 3, "d": 2}, "b": 1})
    assert canonical_json({"é": "ü"}) == '{"é":"ü"}'.encode()


@given(st.dictionaries(st.text(), st.integers()))
def test_c23_canonical_json_does_not_know_insertion_order(value):
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


def test_canonical_json_refuses_what_has_no_form():
    with pytest.raises(TypeError):
        canonical_json({"x": object()})


def test_the_input_hash_is_the_same_in_every_process():
    """Turns in Redis were hashed by other versions: changing this number orphans every one of them."""
    import hashlib

    identity = (
        b'{"domain":null,"index":0,"message":"hi","model":null,"project":null,"session":"demo","tenant":"default"}'
    )
    assert input_hash(KEY, **HASH) == hashlib.sha256(identity).hexdigest()


@pytest.mark.parametrize("field", ["project", "domain", "model"])
def test_c67_adding_a_value_is_another_input_also_an_empty_one(field):
    hashes = {input_hash(KEY, **(HASH | {field: value})) for value in (None, "", "null", "x")}
    assert len(hashes) == 4


def test_parts_parents_and_options_are_hashed_whatever_the_order_of_their_keys():
    part = {"type": "image_url", "image_url": {"url": "https://a/b", "detail": "low"}}
    turned = {"image_url": {"detail": "low", "url": "https://a/b"}, "type": "image_url"}
    digest = input_hash(KEY, **(HASH | {"message": [part]}))
    assert digest == input_hash(KEY, **(HASH | {"message": [turned]})) != input_hash(KEY, **HASH)
    assert len({input_hash(KEY, **HASH, parent=parent) for parent in (None, -1, 0)}) == 3
    assert len({input_hash(KEY, **HASH, options=options) for options in (None, {"seed": 1}, {"seed": 2})}) == 3
    assert input_hash(KEY, **HASH, parent=None, options=None) == input_hash(KEY, **HASH)


@pytest.mark.parametrize(
    "key", [session_key("demo", "acme").turn(0), session_key("other").turn(0), session_key("demo").turn(1)]
)
def test_c87_another_tenant_session_or_index_is_another_input(key):
    assert input_hash(key, **HASH) != input_hash(KEY, **HASH)


@given(WORDS, WORDS, st.integers(0, MAX_TURN_INDEX))
def test_a_run_id_names_one_turn_there_and_back(tenant, session, index):
    key = SessionKey(tenant, session).turn(index)
    assert TurnKey.parse(key.run_id) == key


def test_the_default_tenant_has_no_prefix():
    assert session_key("demo").turn(0).run_id == "chat:demo:0"
    assert session_key("demo", "acme").turn(3).run_id == "chat:acme~demo:3"


@pytest.mark.parametrize(
    "run_id", ["", "chat", "chat:demo", "chat:demo:", "chat:demo:-1", "chat:demo:01", "chat:de mo:0", "chat:demo:0\n",
               "chat:a~b~c:0", "chat:~b:0", "chat:{demo}:0", "chat:demo:99999999999", "turn:demo:0"]
)  # fmt: skip
def test_what_is_no_run_id_is_refused(run_id):
    with pytest.raises(BadRequest):
        TurnKey.parse(run_id)


@pytest.mark.parametrize("session", ["a", "A.b_c-9", "x" * 128, "...", "-"])
def test_a_session_id_may_be(session):
    assert session_key(session).session == session


@pytest.mark.parametrize(
    "session", ["", ".", "..", "x" * 129, "a b", "a/b", "a:b", "a~b", "{a}", "a\n", "é", "a%20b", "\0"]
)
def test_c87_a_session_id_that_could_forge_a_key_is_refused(session):
    with pytest.raises(BadRequest):
        session_key(session)


@pytest.mark.parametrize(("text", "index"), [("0", 0), ("7", 7), ("2147483647", MAX_TURN_INDEX)])
def test_a_turn_index_may_be(text, index):
    assert turn_index(text) == index


@pytest.mark.parametrize("text", ["", "-1", "+1", "01", "1.0", "1e3", "2147483648", "9" * 40, "٣", " 1", "1\n", "0x1"])
def test_what_is_no_turn_index_is_refused(text):
    with pytest.raises(BadRequest):
        turn_index(text)


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_cursor_reads_there_and_back_and_sorts_by_attempt_then_seq(attempt, seq):
    cursor = Cursor(attempt, seq)
    assert Cursor.parse(str(cursor)) == cursor
    assert cursor < Cursor(attempt + 1, 0)
    assert cursor < Cursor(attempt, seq + 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1-",
        "-1",
        "0-0",
        "0-7",
        "1-2-3",
        "a-b",
        "1-+2",
        "1 -2",
        "٣-٣",
        f"{2**63}-0",
        f"1-{2**63}",
        "1" * 41 + "-1",
        "$",
    ],
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(BadRequest):
        Cursor.parse(text)


def test_all_keys_of_a_session_carry_its_hash_tag():
    session = session_key("demo", "acme")
    turn = session.turn(4)
    names = [
        session.record,
        session.turns,
        session.open,
        turn.record,
        turn.lease,
        turn.steps,
        turn.events,
        turn.signals,
    ]
    assert all("{acme~demo}" in name for name in names)
    assert len(set(names)) == len(names)


def test_an_events_bytes_are_type_first_and_compact():
    assert encode_event("x", {"b": 1, "a": "é"}) == '{"type":"x","data":{"b":1,"a":"é"}}'.encode()


@pytest.mark.parametrize(("event_type", "terminal"), [
    ("session.run.completed", True), ("session.run.failed", True), ("session.run.suspended", False),
    ("session.run.completed2", False), ("result", False)])  # fmt: skip
def test_two_events_end_a_log(event_type, terminal):
    event = encode_event(event_type, {})
    assert is_terminal(event) is terminal
    assert Entry(b"1-0", event).terminal is terminal


def test_text_that_looks_like_a_terminal_event_ends_nothing():
    assert not is_terminal(encode_event("x", {"delta": '{"type":"session.run.completed"'}))


def test_every_worker_id_is_fresh_and_readable():
    first, second = worker_id(), worker_id()
    assert first != second
    host, pid, suffix = first.rsplit("/", 2)
    assert host
    assert pid.isdigit()
    assert len(suffix) == 6
    assert "#" not in first
