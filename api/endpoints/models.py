"""Lists the models that a tenant may ask, in the form of OpenAI's API, so that its clients can read it."""

from typing import Literal

import msgspec

from turnwire.api.edge.exchange import Exchange
from turnwire.api.edge.requests import require_json
from turnwire.api.services import Services


class AskableModel(msgspec.Struct, frozen=True):
    """A model that a request may name. The form demands `created` and `owned_by`, which say nothing here."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "turnwire"


class ModelList(msgspec.Struct, frozen=True):
    """The models that you may ask. The list is empty if the product decides about names."""

    data: list[AskableModel]
    object: Literal["list"] = "list"


async def list_models(services: Services, exchange: Exchange) -> None:
    """GET /v1/models"""
    require_json(exchange)
    names = services.models.listed(exchange.identity.tenant)
    await exchange.answer_json(ModelList([AskableModel(name) for name in names]))
