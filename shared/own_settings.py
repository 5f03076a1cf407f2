"""The settings that count for one tenant: those of its table in the key file, or else those of the environment."""

from typing import Final

import msgspec

from turnwire.shared.key_file import KeyFile, TenantSettings, WatchedKeyFile
from turnwire.shared.settings import Settings

_OWN: Final = [name for name in TenantSettings.__struct_fields__ if name in Settings.__struct_fields__]


class OwnSettings:
    """The settings of all tenants. The key file is read again when it has changed."""

    def __init__(self, settings: Settings, key_file: WatchedKeyFile | None = None) -> None:
        """`key_file`: None: the one that the settings name, if any.

        Raises:
            SettingsError: the key file cannot be read.
        """
        self._settings = settings
        self._key_file = key_file or WatchedKeyFile(settings.api_keys_file)
        self._content: KeyFile = self._key_file.content
        self._known: dict[str, Settings] = {}  # of this content, by tenant

    @property
    def longest_retention_ms(self) -> int:
        """How many ms turns are kept at most, whatever their tenant."""
        tenants = self._key_file.content.tenants
        return max([self._settings.retention_ms, *(self.of(tenant).retention_ms for tenant in tenants)])

    def of(self, tenant: str) -> Settings:
        """Return the settings that count for this tenant. They are the same object until the key file changes."""
        content = self._key_file.content
        if content is not self._content:
            self._content, self._known = content, {}
        if tenant not in content.tenants:
            return self._settings
        known = self._known.get(tenant)
        if known is None:
            table = content.tenants[tenant]
            own = {name: value for name in _OWN if (value := getattr(table, name)) is not None}
            known = self._known[tenant] = msgspec.structs.replace(self._settings, **own)
        return known
