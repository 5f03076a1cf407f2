"""An identity provider for tests: its keys, the tokens that it signs, and how often its key set was fetched."""

import json
import time
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "https://login.example"
AUDIENCE = "turnwire"


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of a valid token; None leaves one out, and a function gives the value when the token is made."""
    said = {"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "tenant": "acme", "sub": "ada", "scope": "turns"}
    made = {name: value() if callable(value) else value for name, value in (said | changed).items()}
    return {name: value for name, value in made.items() if value is not None}


class Provider:
    """Signs with ES256. `answer` is what its key set's URL answers; None: it cannot be reached."""

    def __init__(self, *key_ids: str) -> None:
        self.keys = {key_id: ec.generate_private_key(ec.SECP256R1()) for key_id in key_ids}
        self.fetches = 0
        self.answer: httpx.Response | None = None
        self.publish(*key_ids)

    def publish(self, *key_ids: str, **fields: Any) -> None:
        """Let the key set have these keys."""
        keys = [json.loads(ECAlgorithm.to_jwk(self.keys[key_id].public_key())) for key_id in key_ids]
        listed = [key | {"kid": key_id} | fields for key, key_id in zip(keys, key_ids, strict=True)]
        self.answer = httpx.Response(200, json={"keys": listed})

    def token(self, key_id: str, header: dict[str, Any] | None = None, **changed: Any) -> str:
        return jwt.encode(claims(**changed), self.keys[key_id], "ES256", headers={"kid": key_id, **(header or {})})

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        if self.answer is None:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(self.answer.status_code, content=self.answer.content, headers=self.answer.headers)
