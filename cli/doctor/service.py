"""Whether the API answers, is ready, takes the credentials, and has the version of this command."""

import time

import turnwire
from turnwire.cli.api_client import Api, Refused, Unreachable
from turnwire.cli.doctor.findings import Finding, fail, ok, warn
from turnwire.cli.exits import CommandError


def check_api(api: Api, *, asked_for: bool) -> list[Finding]:
    """Ask the API. `asked_for`: whether the user has said where it is, so that it has to be there."""
    began_s = time.perf_counter()
    try:
        api.get("/healthz")
    except CommandError as error:
        find = fail if asked_for else warn
        means = "nobody can ask a turn" if asked_for else "only Redis was checked"
        return [find("api", error.text, means, "turnwire api --check; or say where it is: TURNWIRE_URL")]
    took_ms = (time.perf_counter() - began_s) * 1000
    return [ok("api", f"{api.url} answers in {took_ms:.0f} ms"), *_transport(api), *_ready(api), *_info(api)]


def _transport(api: Api) -> list[Finding]:
    if api.is_encrypted or api.is_on_this_machine:
        return []
    means = "everybody on the way reads the keys, the messages and the answers"
    return [warn("transport", "the connection to the API is not encrypted", means, "put a proxy with TLS before it")]


def _ready(api: Api) -> list[Finding]:
    try:
        api.get("/readyz")
    except (Unreachable, Refused) as error:
        means = "a load balancer sends it no requests, and it answers them with 503"
        return [fail("api", f"it is not ready: {error.text}", means, "mend what this page says of Redis")]
    return [ok("api", "it is ready")]


def _info(api: Api) -> list[Finding]:
    try:
        told = api.get("/v1/info")
    except Refused as refused:
        if refused.status == 404:
            return [
                warn("version", "the API is older than this command", "some commands do not work with it", "upgrade it")
            ]
        return [warn("access", refused.text, "commands end with exit code 4", refused.hint)]
    except Unreachable as error:
        return [fail("api", error.text, "requests are answered with errors")]
    found = [ok("access", f"scopes: {', '.join(told.get('scopes') or []) or 'none'}")]
    if told["version"] != turnwire.__version__:
        text = f"the API is {told['version']}, and this command {turnwire.__version__}"
        return [*found, warn("version", text, "that is normal during an upgrade", "pip install -U turnwire")]
    return [*found, ok("version", f"the API is {told['version']}, as this command")]
