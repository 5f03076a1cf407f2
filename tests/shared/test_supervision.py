"""A side task that ends for an unexpected reason is started again; one that returns, or is cancelled, is not."""

import asyncio

import pytest

from turnwire.shared import supervision
from turnwire.shared.supervision import kept_running


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "RESTART_S", 0.001)


@pytest.mark.parametrize("error", [RuntimeError("a defect"), asyncio.CancelledError()])
async def test_a_task_that_fails_is_started_again(error, caplog):
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise error

    await kept_running("sweep", work)
    assert runs == 3
    assert caplog.text.count("sweep") >= 2
    assert "it is started again" in caplog.text


async def test_a_cancellation_ends_it():
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_running("sweep", work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
