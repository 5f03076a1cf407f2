"""The actions of the stories: methods of a machine, each chosen as often as its weight says."""

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

    def happens(self, machine: Any) -> bool:
        """Do it; False if the machine has not what it needs."""
        if self.needs is not None and not getattr(machine, self.needs):
            return False
        getattr(machine, self.name)(**self.given)
        return True


class Actions:
    """A decorator for the methods of one machine. `needs`: nothing happens while that attribute is empty.

    Not rules of their own: of those Hypothesis leaves out half in each story, and without, say, a claim none gets far.
    The first one is what a story that fails is shrunk to: with few arguments it is easily left out.
    """

    def __init__(self) -> None:
        self._actions: list[st.SearchStrategy[Action]] = []

    def __call__(self, weight: int = 1, *, needs: str | None = None, **arguments: st.SearchStrategy[Any]) -> Any:
        def register(method: Any) -> Any:
            drawn = st.fixed_dictionaries(arguments).map(lambda given: Action(method.__name__, needs, given))
            self._actions.extend([drawn] * weight)
            return method

        return register

    def any(self) -> st.SearchStrategy[Action]:
        """One of them."""
        return st.deferred(lambda: st.sampled_from(self._actions)).flatmap(lambda chosen: chosen)
