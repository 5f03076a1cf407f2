"""Checks turns as soon as they have ended, and asks sessions again after their turns have expired."""

import asyncio
import uuid
from typing import Final

import httpx
from redis.exceptions import RedisError

from chaos import verify
from chaos.client import RETRY_S, Answer
from chaos.deployment import Deployment

VISITS: Final = 3
MARGIN_S: Final = 1.0  # how long to wait after the retention is over


class CheckedAtOnce:
    """Checks each turn of a deployment as soon as it has ended, because it is deleted soon after.

    While things are broken, the check may come too late. If such a late check finds something, the turn counts as
    expired.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.findings: list[str] = []
        self.checked = 0
        self._deployment = deployment
        self._owners: dict[str, str] = {}  # message id -> the run id of its turn

    async def __call__(self, answer: Answer) -> None:
        """Check what clients read of the turn, and under which id its answer was persisted."""
        deployment = self._deployment
        calls = verify.read_ledger(deployment.ledger, answer.session)[answer.run_id]
        for name in {call["message_id"] for call in calls if "message_id" in call}:
            if self._owners.setdefault(name, answer.run_id) != answer.run_id:
                self.findings.append(f"message {name} is the answer of {self._owners[name]} and {answer.run_id}")
        found = await self._check(answer, calls)
        if found and answer.is_older_than(deployment.load.kept_s / 2):
            deployment.load.expired += 1
        else:
            self.findings += found
            self.checked += 1

    async def _check(self, answer: Answer, calls: list[verify.ProductCall]) -> list[str]:
        deployment = self._deployment
        while True:
            try:
                return await verify.check_turn(deployment.client, deployment.redis, answer, calls)
            except httpx.HTTPStatusError as error:
                if error.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return [f"{answer.run_id}: it cannot be read while it is kept: {error!r}"]
            except (httpx.TransportError, RedisError, OSError):
                pass  # something is broken at the moment: try again
            await asyncio.sleep(RETRY_S)


class Visits:
    """Clients that ask at a session's next index, and again with the same Idempotency-Key once the turn expired."""

    def __init__(self, deployment: Deployment, retention_s: float) -> None:
        self.findings: list[str] = []
        self.crossed = 0  # how often a session came again after its turns had expired
        self._deployment = deployment
        self._retention_s = retention_s
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    def start(self) -> None:
        """Start one more client."""
        self._tasks.append(asyncio.create_task(self._come(f"visitor-{uuid.uuid4().hex[:12]}")))

    @property
    def open(self) -> int:
        """How many clients will come again."""
        return sum(not task.done() for task in self._tasks)

    async def over(self, limit_s: float) -> list[str]:
        """Let no client come again, and wait for all of them. Returns what went wrong."""
        self._over.set()
        _, late = await asyncio.wait(self._tasks, timeout=limit_s) if self._tasks else (set(), set())
        for task in late:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        found = [f"a visitor had no answer within {limit_s:g} s"] * len(late)
        found += [f"a visitor failed: {error!r}" for error in results if isinstance(error, Exception)]
        return found + self.findings

    async def _come(self, session: str) -> None:
        highest = -1
        for visit in range(VISITS):
            answer = await self._ask(session)
            if answer is None:
                return
            if answer.index <= highest:
                self.findings.append(f"{answer.run_id}: the session has had the index {highest} already")
            highest = max(highest, answer.index)
            await self._deployment.load.read(answer)
            if visit + 1 == VISITS or await self._is_over_within(self._retention_s + MARGIN_S):
                return
            self.crossed += 1

    async def _ask(self, session: str) -> Answer | None:
        deployment = self._deployment
        answer = deployment.load.answer(session, 0)
        key = f"key-of-{session}"
        response = await deployment.load.until_answered(
            answer, lambda: deployment.client.submit_next(session, answer.metadata, key)
        )
        if not response.is_success:
            return None
        answer.index = response.json()["turn_index"]
        return answer

    async def _is_over_within(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await self._over.wait()
        except TimeoutError:
            return False
        return True
