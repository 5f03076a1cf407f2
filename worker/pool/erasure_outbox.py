"""Tells the products of erasures, so that they erase their own copies. It tries again until they have.

Each erasure has a job of its own, `erase:<id>`. Its record is kept until every product whose turns were erased has
followed it. A worker tells the products that it has; workers with other products tell the rest.
"""

import logging
from typing import Final

import msgspec

from turnwire.shared.erasure import Erasure, KeptErasure
from turnwire.shared.keys import ERASURE_PREFIX
from turnwire.shared.settings import Settings
from turnwire.shared.store.erasures import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Begun, Erasures
from turnwire.shared.store.patience import until_answered
from turnwire.worker.attempt.outcome import LATEST_UNSERVED_MS, Again, Done, pause_ms
from turnwire.worker.hooks import ChatTurnHooks
from turnwire.worker.products import Products, hook
from turnwire.worker.turn.calling import mark_product
from turnwire.worker.turn.limits import call_within

logger = logging.getLogger(__name__)

PRODUCT_TOLD: Final = "the product has erased its copy (erasure %s, after %d tries)"


class ErasureOutbox:
    """Runs the jobs of erasures."""

    def __init__(self, erasures: Erasures, products: Products, settings: Settings) -> None:
        self._erasures = erasures
        self._products = products
        self._limit_s = settings.longest_hook_s

    async def run(self, job_id: str) -> Done | Again:
        """Try once to tell the products of this worker. Returns what should become of the job."""
        erasure_id = job_id.removeprefix(ERASURE_PREFIX)
        begun = await until_answered(self._erasures.begin, erasure_id)
        if begun is None:
            return Done()
        if not begun.is_erased:  # the process that had begun has died
            await until_answered(self._erasures.wipe, begun.kept, begun.requested_at)
        if begun.wait_ms:
            return Again(begun.wait_ms)
        mark_product()
        return await self._tell(begun)

    async def _tell(self, begun: Begun) -> Done | Again:
        kept, is_told = begun.kept, True
        served = [project for project in kept.projects if self._products.serves(project)]
        for hooks in self._products.all() if not kept.projects else self._products.distinct(served):
            is_told &= await self._call(hooks, kept.told(begun.requested_at))
        if not is_told:
            again_ms = pause_ms(begun.tries, FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
            logger.warning("erasure %s: try %d failed; %d ms to the next", kept.id, begun.tries, again_ms)
            return Again(again_ms)
        if len(served) < len(kept.projects):
            await self._leave(kept, served)
            return Again(LATEST_UNSERVED_MS)
        await until_answered(self._erasures.done, kept.id)
        logger.info(PRODUCT_TOLD, kept.id, begun.tries)
        return Done()

    async def _leave(self, kept: KeptErasure, served: list[str | None]) -> None:
        """Leave the rest to workers that have hooks for it."""
        left = [project for project in kept.projects if project not in served]
        for project in left:
            self._products.tell_unserved(project, 0)
        if served:
            await until_answered(self._erasures.left, msgspec.structs.replace(kept, projects=left))

    async def _call(self, hooks: ChatTurnHooks, erasure: Erasure) -> bool:
        on_erase = hook(hooks, "on_erase")
        if on_erase is None:
            return True
        try:
            await call_within(self._limit_s, on_erase, erasure)
        except Exception:
            logger.exception("erasure %s: the hook on_erase failed", erasure.id)
            return False
        return True
