"""A callback is one signed POST to an address that was checked. It follows no redirect, and waits for nobody long."""

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from tests.support.waiting import wait_until
from tests.worker.backends.rawserver import HANG, RESET, RawServer, raw_server, reply
from turnwire.shared.callbacks import CallbackError
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings
from turnwire.worker.pool.callback_sender import CallbackSender

SECRETS = ["whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
BODY = b'{"type":"turn.completed","data":{"text":"\xc3\xbc"}}'


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as server:
        yield server


def port_of(server: RawServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def sender_of(server: RawServer, **more: object) -> CallbackSender:
    hosts = f"127.0.0.1:{port_of(server)},hooks.test:{port_of(server)}"
    values: dict[str, object] = {"callback_hosts": hosts, "callback_secret": SECRETS[0], "callback_private": True}
    return CallbackSender(msgspec.convert(values | more, Settings))


async def test_what_is_sent_is_signed_as_the_standard_says(server):
    server.play(reply(204))
    await sender_of(server).send(server.url + "/turns?a=b", "chat:demo:0/7/1/completed", BODY)
    (request,) = server.requests
    assert request.line == "POST /v1/turns?a=b HTTP/1.1"
    assert (request.body, request.headers["content-type"]) == (BODY, "application/json")
    assert request.headers["webhook-id"] == "chat:demo:0/7/1/completed"
    assert Webhook(SECRETS[0]).verify(request.body, request.headers) == msgspec.json.decode(BODY)


async def test_while_secrets_are_rotated_both_of_them_sign(server):
    server.play(reply(200))
    await sender_of(server, callback_secret=" ".join(SECRETS)).send(server.url, "id", BODY)
    for secret in SECRETS:
        assert Webhook(secret).verify(BODY, server.requests[0].headers)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(500), "status 500"),
        (reply(404), "status 404"),
        (reply(302, b"", "Location: /elsewhere"), "status 302"),
        (RESET, "no connection"),
    ],
)
async def test_what_counts_as_not_told(server, answer, reason):
    server.play(answer)
    with pytest.raises(CallbackError, match=reason):
        await sender_of(server).send(server.url, "id", BODY)
    assert len(server.requests) == 1


async def test_a_server_that_wants_to_hear_nothing_more_counts_as_told(server):
    server.play(reply(410))
    await sender_of(server).send(server.url, "id", BODY)


async def test_a_server_that_does_not_answer_is_left(server):
    server.play(HANG)
    with pytest.raises(CallbackError, match=r"no answer within 0.2 s"):
        await sender_of(server, callback_timeout_s=0.2).send(server.url, "id", BODY)
    await server.hung_up.wait()


async def test_an_answer_without_an_end_is_not_read(server):
    server.play(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1000, HANG)
    await sender_of(server, callback_timeout_s=5).send(server.url, "id", BODY)
    await server.hung_up.wait()


async def test_a_url_whose_host_is_no_longer_allowed_is_not_told(server):
    with pytest.raises(CallbackError, match="this host may not be told"):
        await sender_of(server, callback_hosts="hooks.example.com").send(server.url, "id", BODY)
    assert server.requests == []


class Names:
    """Resolves every name to these addresses, one after the other, as somebody does who answers each time anew."""

    def __init__(self, *addresses: str) -> None:
        self.left = list(addresses)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        address = self.left.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.fixture
def names(monkeypatch):
    """Makes the names of this test."""

    def made(*addresses: str) -> Names:
        resolver = Names(*addresses)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return made


async def test_a_name_that_leads_to_a_private_address_is_not_told(server, names):
    names("127.0.0.1")
    url = f"https://hooks.test:{port_of(server)}/"
    with pytest.raises(CallbackError, match="no public address"):
        await sender_of(server, callback_private=False).send(url, "id", BODY)
    assert server.requests == []


async def test_the_connection_leads_to_the_address_that_was_checked(server, names):
    server.play(reply(200))
    resolver = names("127.0.0.1")  # a second question would find no answer
    url = f"http://hooks.test:{port_of(server)}/x"
    await sender_of(server).send(url, "id", BODY)
    assert resolver.asked == ["hooks.test"]
    assert server.requests[0].headers["host"] == f"hooks.test:{port_of(server)}"


async def test_names_that_are_not_resolved_hold_up_no_other_names(server, monkeypatch):
    many, resolve, released = 40, socket.getaddrinfo, threading.Event()
    waiting = threading.Semaphore(0)

    def never(host: str, *args: Any) -> object:
        if host == "hooks.test":
            waiting.release()
            released.wait()
        return resolve(host, *args)

    monkeypatch.setattr(socket, "getaddrinfo", never)
    sender = sender_of(server, callback_timeout_s=5)
    url = f"http://hooks.test:{port_of(server)}/x"
    async with asyncio.TaskGroup() as group:
        sent = [group.create_task(sender.send(url, str(number), BODY)) for number in range(many)]
        try:
            await wait_until(lambda: waiting.acquire(blocking=False), "a name that is not resolved")
            async with asyncio.timeout(4):
                assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        finally:
            released.set()
            for task in sent:
                task.cancel()


@pytest.mark.parametrize("host", ["a..hooks.test", "a" * 64 + ".hooks.test"])
async def test_a_host_that_cannot_be_a_name_is_not_told(server, host):
    sender = sender_of(server, callback_hosts="*.hooks.test")
    with pytest.raises(CallbackError, match="no connection"):
        await sender.send(f"https://{host}/", "id", BODY)


@pytest.mark.parametrize(
    "secret", ["x" * 40, "whsec_" + "!" * 40, "", "whsec_" + "A" * 28, " ".join([*SECRETS, SECRETS[0]])], ids=str
)
async def test_a_secret_that_cannot_sign_is_refused_at_the_start_and_not_shown(server, secret):
    with pytest.raises(SettingsError, match="TURNWIRE_CALLBACK_SECRET") as refused:
        sender_of(server, callback_secret=secret)
    assert not secret or secret not in str(refused.value)
