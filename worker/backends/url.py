"""Makes the URL that is asked from the base URL of a model server."""

from collections.abc import Mapping
from typing import Final

import httpx

from turnwire.shared.errors import SettingsError

_PATH: Final = b"/chat/completions"


def completions_url(base_url: str, api_key: str | None) -> httpx.URL:
    """Return the URL of the chat completions below `base_url`, which may name them already. Its query is kept.

    Raises:
        SettingsError: the base URL is not http(s) with a host, or has a user beside an API key.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise SettingsError("the model server's base URL is not a URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise SettingsError("the model server's base URL must begin with http:// or https:// and name a host")
    if url.userinfo and api_key:
        raise SettingsError("the model server's base URL names a user, whose password would replace the API key")
    # The raw path is used, because the decoded one would turn an escaped slash into a slash.
    path, mark, query = url.raw_path.partition(b"?")
    path = path.rstrip(b"/")
    return url.copy_with(raw_path=(path if path.endswith(_PATH) else path + _PATH) + mark + query)


def sibling_url(url: httpx.URL, path: bytes, query: Mapping[str, str]) -> httpx.URL:
    """Return the URL of another path of the same server, which stands where `completions_url` puts its own."""
    whole, mark, own_query = url.raw_path.partition(b"?")
    sibling = url.copy_with(raw_path=whole.removesuffix(_PATH) + path + mark + own_query)
    return sibling.copy_merge_params(query)
