"""GET /v1/info tells a client what this server is, what it can do, and how much it accepts."""

import msgspec

from turnwire import __version__
from turnwire.api.access.identity import Scope
from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import require_json
from turnwire.api.services import Services
from turnwire.shared.tracing import tracing


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What this deployment can do.

    Attributes:
        jwt: it takes tokens of an identity provider.
        tokens: it makes session tokens.
        models: clients may choose among models, which `GET /v1/models` lists.
        branches: a turn may follow any earlier turn of its session.
        callbacks: a turn may name a URL that is told of its end.
        sealed: the content of turns is encrypted in Redis.
        traces: it exports traces.
        development: it runs on a developer's machine, and shows what it would hide elsewhere.
    """

    jwt: bool
    tokens: bool
    models: bool
    branches: bool
    callbacks: bool
    sealed: bool
    traces: bool
    development: bool


class InfoLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much this server accepts of these credentials. null: as much as one likes."""

    max_body_bytes: int
    max_event_bytes: int
    max_log_events: int
    max_log_bytes: int
    max_turns_per_session: int
    max_signals: int
    max_queued: int
    max_open_turns: int | None
    max_sessions: int | None
    max_tails: int | None
    requests_per_s: float | None
    retention_s: int


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and who asks. `deployment`: '' for the one without a name. `scopes`: of these credentials."""

    version: str
    deployment: str
    features: Features
    limits: InfoLimits
    tenant: str
    user: str | None
    scopes: list[str]


async def get_info(services: Services, exchange: Exchange) -> None:
    """GET /v1/info"""
    require_json(exchange)
    settings, who = services.settings, exchange.identity
    own = services.own_settings.of(who.tenant)
    info = Info(
        version=__version__,
        deployment=settings.deployment_name,
        features=Features(
            jwt=settings.takes_jwt,
            tokens=settings.makes_tokens,
            models=bool(services.models.listed(who.tenant)),
            branches=True,
            callbacks=bool(settings.callback_hosts),
            sealed=settings.codec is not None,
            traces=tracing.on,
            development=settings.development,
        ),
        limits=InfoLimits(**{name: getattr(own, name) for name in InfoLimits.__struct_fields__}),
        tenant=who.tenant,
        user=who.user,
        scopes=sorted(scope for scope in Scope if scope in who.scopes),
    )
    await exchange.answer_json(info)
