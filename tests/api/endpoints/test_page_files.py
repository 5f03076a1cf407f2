"""The API serves the page: small files, a strict policy, nothing from another host; and nothing if it is off."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from turnwire.api.app import create_app
from turnwire.api.endpoints.page import DOCUMENT, page_files
from turnwire.shared.settings import Settings

LIMIT_BYTES = 150_000
Ask = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
TEXT = {name: file.body.decode() for name, file in page_files().items()}


@pytest.fixture
def ask() -> Ask:
    @asynccontextmanager
    async def client(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(create_app(Settings(**settings)))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            yield http

    return client


def test_the_files_are_small():
    assert sum(len(file.body) for file in page_files().values()) <= LIMIT_BYTES
    assert {name: text.count("\n") for name, text in TEXT.items() if text.count("\n") > 300} == {}


async def test_every_file_is_served_with_a_strict_policy_and_a_tag(ask: Ask):
    async with ask() as http:
        for path in ["/", *(f"/page/{name}" for name in page_files())]:
            response = await http.get(path)
            assert response.status_code == 200, path
            policy = response.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
            assert "unsafe" not in policy
            assert "require-trusted-types-for 'script'" in policy
            again = await http.get(path, headers={"If-None-Match": response.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == response.headers["etag"]
            assert (await http.head(path)).headers["content-length"] == str(len(response.content))


async def test_a_file_that_is_not_there_is_not_found(ask: Ask):
    async with ask() as http:
        for name in ("nothing.js", "..%2fapp.py", "%2e%2e", "index.html%00"):
            assert (await http.get(f"/page/{name}")).status_code == 404, name
        assert (await http.post("/")).status_code == 405


async def test_the_page_can_be_switched_off(ask: Ask):
    async with ask(page=False) as http:
        assert (await http.get("/")).status_code == 404
        assert (await http.get("/page/main.js")).status_code == 404
        assert (await http.get("/docs")).status_code == 200


async def test_a_root_path_is_the_base_of_every_address(ask: Ask):
    async with ask(root_path="/chat") as http:
        page = (await http.get("/")).text
        assert '<head><base href="/chat/">' in page
    assert re.findall(r'(?:src|href)="/', TEXT[DOCUMENT]) == []


def test_nothing_comes_from_another_host_and_nothing_is_inline():
    page = TEXT[DOCUMENT]
    assert re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []
    for name, text in TEXT.items():
        assert not re.search(r"url\(|@import", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )


def test_every_module_that_the_page_starts_with_is_loaded_at_once():
    """Otherwise a browser would find them one after the other."""
    preloaded = set(re.findall(r'modulepreload" href="page/([\w.]+)"', TEXT[DOCUMENT])) | {"main.js"}
    known, look_at = set(), ["main.js"]
    while look_at:
        name = look_at.pop()
        if name not in known:
            known.add(name)
            look_at += re.findall(r"^(?:import|export) .*from '\./([\w.]+)'$", TEXT[name], re.MULTILINE)
    assert known == preloaded
