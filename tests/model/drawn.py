"""What the stories of a session are drawn from."""

from hypothesis import strategies as st

from turnwire.shared.lifecycle import TurnState
from turnwire.worker.turn.meter import Meter
from turnwire.worker.turn.prices import Prices

INDEXES = st.sampled_from([0, 0, 0, 1, 2])
PARENTS = st.sampled_from([None] * 6 + [-1, 0, 0, 1])
WORKERS = st.sampled_from(["host/1/a", "host/2/b"])
PROJECTS = st.sampled_from([None] * 6 + [["legal"], ["tax"], ["legal", "tax"]])
COMPANY = st.sampled_from([0, 0, 1, 6, 30])
DIED_WITH = st.sampled_from([0, 1, 1, 9, 100])
USED = st.sampled_from([b"", Meter(Prices()).row])
KEYS = st.sampled_from(["", "", "key"])
MESSAGES = st.sampled_from(["hello"] * 9 + ["other"])
ON_BUSY = st.sampled_from(["enqueue", "concurrent", "interrupt", "reject"])
SIGNALS = st.sampled_from(["approval", "payment"])
PICK = st.integers(0, 7)  # one of those that are there
AGAIN = st.booleans()  # its reply was lost, so it is done once more
TIMEOUTS = st.sampled_from([None, 3_600_000])
PERSIST = st.sampled_from(["none", "pending"])
STATES = st.sampled_from([TurnState.COMPLETED, TurnState.FAILED, TurnState.CANCELLED])
USERS = st.sampled_from([None, "a/b \x7f\n é"])
