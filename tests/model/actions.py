"""What the stories of a session are made of: methods of the machine, each as often as its weight says."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Action:
    """One method of the machine and what it is called with; shown as such in a story."""

    name: str
    needs: str | None
    given: dict[str, Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"


ACTIONS: list[st.SearchStrategy[Action]] = []


def action(weight: int = 1, *, needs: str | None = None, **arguments: st.SearchStrategy[Any]) -> Any:
    """What a story is made of. `needs`: nothing happens while that attribute of the machine is empty.

    Not rules of their own: of those Hypothesis leaves out half in each story, and without, say, a claim none gets far.
    """

    def register(method: Any) -> Any:
        given = st.fixed_dictionaries(arguments).map(lambda given: Action(method.__name__, needs, given))
        ACTIONS.extend([given] * weight)
        return method

    return register
