"""Says which models a tenant may ask: those of the file of models, or those of the one model server."""

from typing import Final

from turnwire.shared.errors import UnknownModel
from turnwire.shared.models_file import watch_models_file
from turnwire.shared.settings import Settings

_QUOTED_CHARACTERS: Final = 80


class AskableModels:
    """The models that clients may ask. The API refuses all others, before anything is written.

    With TURNWIRE_MODELS_FILE, they are those of the file. With TURNWIRE_LLM_MODELS, or with TURNWIRE_LLM_BASE_URL and
    without hooks, they are TURNWIRE_LLM_MODEL and TURNWIRE_LLM_MODELS. Otherwise the product decides, so that any name
    may be asked.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises:
        SettingsError: the file of models cannot be used.
        """
        self._file = watch_models_file(settings.models_file) if settings.models_file else None
        of_server = settings.llm_models is not None or (settings.llm_base_url is not None and settings.hooks is None)
        self._of_server = settings.llm_model_names if of_server else None

    def check(self, model: str | None, tenant: str) -> None:
        """Refuse a request that asks this model; None: it names none.

        Raises:
            UnknownModel: there is no such model, or this tenant may not ask it.
        """
        if self._file is not None:
            known = self._file.content.asked(model, tenant) is not None
        else:
            known = model is None or self._of_server is None or model in self._of_server
        if not known:
            asked = "no model is named, and you may not ask the default one" if model is None else _no_such(model)
            raise UnknownModel(f"{asked}; GET /v1/models lists those that you may ask")

    @property
    def names(self) -> list[str]:
        """The models of all tenants; an empty list if the product decides."""
        return list(self._file.content.models) if self._file is not None else self._of_server or []

    def listed(self, tenant: str) -> list[str]:
        """Return the names that a tenant may ask; an empty list if it may ask any name, or none."""
        return self._file.content.askable(tenant) if self._file is not None else self._of_server or []


def _no_such(model: str) -> str:
    quoted = model if len(model) <= _QUOTED_CHARACTERS else model[:_QUOTED_CHARACTERS] + "…"
    return f"there is no model {quoted!r}"
