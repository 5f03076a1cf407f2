"""A clock that stands still until a test moves it."""


class Clock:
    """Gives `now_s`, which a test changes."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
