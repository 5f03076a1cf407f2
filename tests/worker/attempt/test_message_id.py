"""The id under which a product stores an answer: one id is one answer, for ever."""

from tests.support.product import Product
from tests.support.turns import KEY, request

RUN_ID = KEY.run_id


async def test_message_ids_are_equal_on_every_attempt(store, runner_of):
    product = Product(RuntimeError("no"))
    for _ in range(2):
        await store.submit(KEY, request())
        await runner_of(product).run(RUN_ID)
    first, second = product.turns
    assert first.message_id == second.message_id
    assert second.attempt == 2


async def test_a_turn_that_takes_the_place_of_an_expired_one_has_another_message_id(store, redis, runner_of):
    """The product's row of the old answer must not be overwritten."""
    product = Product()
    for _ in range(2):
        await store.submit(KEY, request())
        await runner_of(product).run(RUN_ID)
        await redis.delete(*KEY.all_keys())
    first, second = product.turns
    assert first.run_id == second.run_id
    assert first.message_id != second.message_id
