"""A heartbeat never extends a claim whose job was given up."""

import asyncio

from turnwire.worker.pool.claims import Claims


async def test_who_gives_a_job_up_waits_for_the_heartbeat_that_names_it():
    claims = Claims()
    claims.add("a")
    with claims.extending() as job_ids:
        assert job_ids == ["a"]
        giving_up = asyncio.create_task(claims.release("a"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not giving_up.done()
    await giving_up
    with claims.extending() as job_ids:
        assert job_ids == []


async def test_it_does_not_wait_for_a_heartbeat_that_names_others():
    claims = Claims()
    claims.add("a")
    with claims.extending():
        claims.add("b")
        await claims.release("b")
