"""Keeps what a process made while it started away from the garbage collector."""

import gc


def spare_what_is_there() -> None:
    """Let no later collection look at the objects that exist now.

    They are modules, classes and settings, which live as long as the process. To look at all of them takes some 30 ms,
    in which every turn and every stream of the process stands still.
    """
    gc.collect()
    gc.freeze()
