"""Says how long turns are kept after their end: the tenant's own time in the key file, or that of the environment."""

from turnwire.shared.key_file import WatchedKeyFile
from turnwire.shared.keys import tenant_of
from turnwire.shared.settings import Settings


class Retention:
    """The times of all tenants. The key file is read again when it has changed.

    Raises:
        SettingsError: there is a key file, and it cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._default_ms = settings.retention_ms
        self._key_file = WatchedKeyFile(settings.api_keys_file) if settings.api_keys_file else None

    def ms(self, tenant: str) -> int:
        """Return how many ms a turn of this tenant is kept."""
        if self._key_file is None:
            return self._default_ms
        own_s = self._key_file.tenant(tenant).retention_s
        return self._default_ms if own_s is None else own_s * 1000

    def of_job_ms(self, job_id: str) -> int:
        """Return how many ms the turn of this job is kept."""
        return self._default_ms if self._key_file is None else self.ms(tenant_of(job_id))
