"""The parts of other libraries that are not public but used here. Each is missed by its name after an upgrade.

The upper bounds in pyproject.toml keep out the versions that these tests have not seen.
"""

import asyncio
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import hiredis
import httptools
import pytest
import uvicorn
from redis import Connection as WaitingConnection
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.auth import token
from starlette.applications import Starlette
from starlette.responses import Response
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


def fresh(name: str) -> ModuleType:
    """Load a module once more. A library that comes with an SDK of the tests replaces a method of the first one."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONNECTIONS = (Connection, SSLConnection, UnixDomainSocketConnection)


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (HttpToolsProtocol, "connection_made", ["self", "transport"]),
        (HttpToolsProtocol, "connection_lost", ["self", "exc"]),
        (HttpToolsProtocol, "data_received", ["self", "data"]),
        (HttpToolsProtocol, "on_body", ["self", "body"]),
        (HttpToolsProtocol, "on_header", ["self", "name", "value"]),
        (HttpToolsProtocol, "on_headers_complete", ["self"]),
        (HttpToolsProtocol, "on_message_begin", ["self"]),
        (HttpToolsProtocol, "on_message_complete", ["self"]),
        (HttpToolsProtocol, "on_response_complete", ["self"]),
        (HttpToolsProtocol, "on_url", ["self", "url"]),
        (HttpToolsProtocol, "_start_asgi_task", ["self", "cycle", "app"]),
        (HttpToolsProtocol, "_unset_keepalive_if_required", ["self"]),
        (FlowControl, "drain", ["self"]),
        (FlowControl, "pause_reading", ["self"]),
        (FlowControl, "resume_reading", ["self"]),
        (fresh("uvicorn.server").Server, "handle_exit", ["self", "sig", "frame"]),
        (uvicorn.Server, "startup", ["self", "sockets"]),
        (Starlette, "build_middleware_stack", ["self"]),
        (AbstractConnection, "connect", ["self"]),
        (AbstractConnection, "pack_commands", ["self", "commands"]),
        (ConnectionPool, "make_connection", ["self"]),
    ],
    ids=lambda value: getattr(value, "__name__", value) if isinstance(value, type | str) else "",
)
def test_a_method_that_is_overridden_or_called_has_these_parameters(owner: type, name: str, parameters: list[str]):
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


@pytest.mark.parametrize(
    ("method", "parameter"),
    [
        ("disconnect", "nowait"),
        ("send_command", "check_health"),
        ("send_packed_command", "check_health"),
        ("read_response", "timeout"),
    ],
)
def test_a_method_of_a_connection_of_redis_has_this_parameter(method: str, parameter: str):
    for kind in CONNECTIONS:
        found = inspect.signature(getattr(kind, method)).parameters
        assert parameter in found or any(known.kind is known.VAR_KEYWORD for known in found.values())


@pytest.mark.parametrize("name", ["_parser", "_reader", "_writer"])
def test_a_connection_of_redis_has_this_attribute(name: str):
    assert all(hasattr(kind(), name) for kind in CONNECTIONS)


def test_a_connection_of_redis_that_waits_has_this_attribute():
    assert hasattr(WaitingConnection(), "_sock")


def test_the_parser_of_redis_keeps_the_reader_of_hiredis_here():
    parser: Any = Connection()._parser
    assert hasattr(parser, "_reader")
    assert hiredis.Reader().has_data() is False


async def test_a_stream_reader_keeps_here_what_nobody_has_read():
    reader: Any = asyncio.StreamReader()
    reader.feed_data(b"unread")
    assert reader._buffer == b"unread"


@pytest.mark.parametrize(
    "name", ["client", "cycle", "flow", "headers", "loop", "parser", "pipeline", "scope", "transport"]
)
async def test_a_connection_of_uvicorn_has_this_attribute(name: str):
    config = uvicorn.Config(Starlette(), log_config=None)
    config.load()
    protocol = HttpToolsProtocol(config, uvicorn.server.ServerState(), {})
    assert hasattr(protocol, name)


@pytest.mark.parametrize(
    "name",
    ["chunked_encoding", "disconnected", "keep_alive", "message_event", "response_complete", "response_started"],
)
def test_a_request_of_uvicorn_has_this_attribute(name: str):
    options: Any = dict.fromkeys(inspect.signature(RequestResponseCycle).parameters)
    assert hasattr(RequestResponseCycle(**options), name)


@pytest.mark.parametrize("name", ["read_paused", "write_paused"])
def test_the_flow_control_of_uvicorn_has_this_attribute(name: str):
    transport: Any = None
    assert getattr(FlowControl(transport), name) is False


@pytest.mark.parametrize("name", ["should_exit", "started"])
def test_a_server_of_uvicorn_has_this_attribute(name: str):
    assert getattr(uvicorn.Server(uvicorn.Config(Starlette(), log_config=None)), name) is False


def test_an_error_in_a_callback_of_the_parser_is_a_parser_error():
    """The limit on headers is such an error."""
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)


@pytest.mark.parametrize("name", ["body", "raw_headers", "status_code"])
def test_a_response_of_starlette_has_this_attribute(name: str):
    assert hasattr(Response(b""), name)


@pytest.mark.parametrize("name", ["redirect_slashes", "routes"])
def test_a_router_of_starlette_has_this_attribute(name: str):
    assert hasattr(Starlette().router, name)


@pytest.mark.parametrize("name", ["connection_class", "connection_kwargs"])
def test_a_pool_of_redis_has_this_attribute(name: str):
    for kind in (ConnectionPool, BlockingConnectionPool):
        assert hasattr(kind.from_url("redis://localhost"), name)


@pytest.mark.parametrize("name", ["connection_pool"])
def test_a_client_of_redis_has_this_attribute(name: str):
    assert hasattr(Redis.from_url("redis://localhost"), name)


@pytest.mark.parametrize("name", ["get_connection", "release", "disconnect"])
def test_a_blocking_pool_of_redis_has_this_method(name: str):
    assert inspect.iscoroutinefunction(inspect.unwrap(getattr(BlockingConnectionPool, name)))


@pytest.mark.parametrize("name", ["set_response_callback"])
def test_a_client_of_redis_has_this_method(name: str):
    assert callable(getattr(Redis, name))


def test_the_command_of_httpx_is_in_a_module_of_its_own_and_may_be_missing():
    found = importlib.util.find_spec("httpx")
    assert found is not None
    assert found.origin is not None
    assert "try:\n    from ._main import main\nexcept ImportError:" in Path(found.origin).read_text()


def test_redis_py_imports_pyjwt_here():
    assert hasattr(token, "jwt")
