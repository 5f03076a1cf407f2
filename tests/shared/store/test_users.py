"""A session is the user's of its first turn, and a request that is bound to a user opens no other one."""

import pytest

from tests.support.turns import KEY, SESSION, request
from turnwire.shared.errors import NotFound
from turnwire.shared.replies import CancelVerdict
from turnwire.shared.store.turns import TurnStore


@pytest.mark.parametrize(("user", "expected"), [("ada", "ada"), (None, None)])
async def test_a_new_session_becomes_the_users_of_its_first_turn(
    store: TurnStore, user: str | None, expected: str | None
):
    assert await store.user_of(SESSION) is None
    await store.submit(KEY, request(user=user))
    await store.submit(SESSION.turn(1), request(user="another"))
    assert await store.user_of(SESSION) == expected


async def test_a_bound_request_opens_the_session_of_its_user(store: TurnStore):
    await store.submit(KEY, request(user="ada", bound=True))
    assert (await store.submit(KEY, request(user="ada", bound=True))).verdict == "attached"
    assert (await store.submit_next(SESSION.turn(1), request(user="ada", bound=True))).verdict == "created"


@pytest.mark.parametrize("owner", ["ada", None])
@pytest.mark.parametrize("index", [0, 1])
async def test_a_bound_request_opens_no_session_of_somebody_else(store: TurnStore, owner: str | None, index: int):
    await store.submit(KEY, request(user=owner))
    before = await store.redis.dump(SESSION.record)
    foreign = request(user="bob", bound=True)
    with pytest.raises(NotFound, match="no such session"):
        await store.submit(SESSION.turn(index), foreign)
    with pytest.raises(NotFound, match="no such session"):
        await store.submit_next(SESSION.turn(1), foreign)
    assert await store.redis.dump(SESSION.record) == before


async def test_a_request_that_is_not_bound_opens_every_session_of_its_tenant(store: TurnStore):
    await store.submit(KEY, request(user="ada"))
    assert (await store.submit(SESSION.turn(1), request(user="bob"))).verdict == "created"
    assert (await store.submit(SESSION.turn(2), request())).verdict == "created"


async def test_an_erased_session_is_nobodys(store: TurnStore):
    await store.submit(KEY, request(user="ada"))
    await store.erase(SESSION)
    assert await store.user_of(SESSION) is None
    await store.submit(KEY, request(user="bob", bound=True))
    assert await store.user_of(SESSION) == "bob"


async def test_a_turn_that_outlived_its_sessions_hash_is_nobodys(store: TurnStore):
    await store.submit(KEY, request(user="ada"))
    await store.redis.delete(SESSION.record)
    with pytest.raises(NotFound):
        await store.submit(KEY, request(user="ada", bound=True))


@pytest.mark.parametrize("owner", ["ada", None])
async def test_nothing_of_a_session_is_changed_for_another_user(store: TurnStore, owner: str | None):
    await store.submit(KEY, request(user=owner))
    before = [await store.redis.dump(name) for name in KEY.all_keys()]
    with pytest.raises(NotFound, match="no such turn"):
        await store.cancel(KEY, user="bob")
    with pytest.raises(NotFound, match="no such turn"):
        await store.signal(KEY, "approval", b"1", user="bob")
    assert not await store.erase(SESSION, user="bob")
    assert [await store.redis.dump(name) for name in KEY.all_keys()] == before


async def test_a_user_changes_their_own_session(store: TurnStore):
    await store.submit(KEY, request(user="ada"))
    assert (await store.signal(KEY, "approval", b"1", user="ada")).first
    assert (await store.cancel(KEY, user="ada")).verdict == CancelVerdict.CANCELLED
    assert await store.erase(SESSION, user="ada")
    assert not await store.erase(SESSION, user="ada")
