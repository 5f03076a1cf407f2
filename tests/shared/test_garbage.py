"""What a process made while it started is no burden for its later garbage collections."""

import gc

from turnwire.shared.garbage import spare_what_is_there


def test_later_collections_do_not_look_at_what_is_there():
    kept: list[list[int]] = [[]]
    gc.unfreeze()
    try:
        spare_what_is_there()
        assert gc.get_freeze_count() > 1000
        assert not any(one is kept for one in gc.get_objects())
        later: list[list[int]] = [[]]
        assert any(one is later for one in gc.get_objects())
    finally:
        gc.unfreeze()
