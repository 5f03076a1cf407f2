"""Makes what asks the models of a file: one backend for each server, and the keys of each model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from turnwire.shared.listed_model import ListedModel
from turnwire.shared.model import ModelCall
from turnwire.shared.models_file import ModelsFile
from turnwire.shared.settings import Settings
from turnwire.worker.backends.model_keys import KeyReader, key_headers, key_readers
from turnwire.worker.backends.openai import OpenAIBackend, quirks_of, retry_policy
from turnwire.worker.backends.quirks import Quirks
from turnwire.worker.backends.retry import RetryPolicy

# A model that has fallbacks is not asked as patiently, because the next one can answer meanwhile.
ATTEMPTS_BEFORE_FALLBACK: Final = 2
LONGEST_WAIT_BEFORE_FALLBACK_MS: Final = 2_000


class ServedModel(msgspec.Struct, frozen=True):
    """A listed model, and what it takes to ask it."""

    name: str
    listed: ListedModel
    backend: OpenAIBackend
    keys: Mapping[str | None, KeyReader]
    quirks: Quirks

    @property
    def real_name(self) -> str:
        """What the server calls the model."""
        return self.listed.name or self.name

    def headers(self, tenant: str) -> dict[str, str]:
        """Return the headers of a request for this tenant: those of the file, and the key as it is now."""
        read = self.keys.get(tenant) or self.keys[None]
        return {**self.listed.headers, **key_headers(self.listed, read())}

    def options(self, asked: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the fields of a request: `asked` replaces `parameters`, and nothing replaces `body`."""
        return {**self.listed.parameters, **(asked or {}), **self.listed.body}

    def counted_by(self, count: Callable[[ModelCall], None]) -> Callable[[ModelCall], None]:
        """Return `count` for calls of this model, which the ledger knows by its name in the file."""
        return lambda call: count(msgspec.structs.replace(call, model=self.name))


class ServedModels(msgspec.Struct, frozen=True):
    """The models of one version of the file."""

    file: ModelsFile
    models: Mapping[str, ServedModel]


class ModelServers:
    """The backends of all models that this process has read. They outlive a change of the file, and so do their calls.

    Models with the same URL and the same deadlines share a backend, and so its connections.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Raises:
        SettingsError: the retries and deadlines of the settings make no sense.
        """
        self._policy = retry_policy(settings)
        self._quirks = quirks_of(settings)
        self._tells_trace = settings.llm_traceparent
        self._environ = environ
        self._folder = Path(settings.models_file or "").parent
        self._backends: dict[tuple[Any, ...], OpenAIBackend] = {}

    def serve(self, file: ModelsFile, where: str) -> ServedModels:
        """Find the backend and the keys of each model. `where` stands at the beginning of each error.

        Raises:
            SettingsError: a key cannot be read, or a URL cannot be used.
        """
        models: dict[str, ServedModel] = {}
        for name, listed in file.models.items():
            keys = key_readers(listed, self._environ, self._folder, f"{where}: [models.{name}]")
            quirks = msgspec.structs.replace(
                self._quirks, stream_options=listed.stream_options, think=listed.think, continues=listed.continues
            )
            models[name] = ServedModel(name, listed, self._backend(listed), keys, quirks)
        return ServedModels(file, models)

    def _backend(self, listed: ListedModel) -> OpenAIBackend:
        policy = self._policy_of(listed)
        same = (listed.url, policy)
        if same not in self._backends:
            self._backends[same] = OpenAIBackend(listed.url, None, "unnamed", policy, tells_trace=self._tells_trace)
        return self._backends[same]

    def _policy_of(self, listed: ListedModel) -> RetryPolicy:
        policy = self._policy
        if listed.fallbacks:
            policy = msgspec.structs.replace(
                policy,
                max_attempts=min(policy.max_attempts, ATTEMPTS_BEFORE_FALLBACK),
                retry_after_cap_ms=min(policy.retry_after_cap_ms, LONGEST_WAIT_BEFORE_FALLBACK_MS),
            )
        own = {
            name: value
            for name in ("max_attempts", "request_timeout_ms", "first_token_timeout_ms", "idle_timeout_ms")
            if (value := getattr(listed, name)) is not None
        }
        return msgspec.structs.replace(policy, **own)

    async def aclose(self) -> None:
        """Close the connections to every server."""
        for backend in self._backends.values():
            await backend.aclose()
