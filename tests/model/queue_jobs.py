"""The jobs of the queue's stories, their lanes, and the limits of their tenants."""

from hypothesis import strategies as st

from tests.support.turns import SESSION
from turnwire.shared import keys
from turnwire.shared.keys import SessionKey
from turnwire.shared.lanes import Lane
from turnwire.shared.limits import KeyAllowance, Limits

TURN, OTHER = SESSION.turn(0).run_id, SESSION.turn(1).run_id
ANSWER = keys.persist_id(TURN)
ACME = [SessionKey("acme", "s").turn(index).run_id for index in range(3)]
NAMES = [TURN, OTHER, ANSWER, *ACME]
LANES = {OTHER: Lane("gpu"), ACME[1]: Lane(priority="batch"), ACME[2]: Lane("gpu", "batch")}
JOBS = st.sampled_from([TURN, TURN, OTHER, ANSWER, *ACME])
WEIGHTS = st.sampled_from([None, None, 1.0, 3.0, 0.5])
LIMITED = st.sampled_from(
    [
        Limits(max_open_turns=1, max_signals=1, max_body_bytes=1),
        Limits(max_open_turns=2, max_sessions=1, max_signals=1, max_body_bytes=1),
        Limits(requests_per_s=0.001, max_signals=1, max_body_bytes=1),
        Limits(max_signals=1, max_body_bytes=1, key=KeyAllowance(holder="acme/k", max_open_turns=1, max_sessions=1)),
    ]
)
