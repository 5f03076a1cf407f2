"""Says how long turns are kept after their end: the tenant's own time in the key file, or that of the environment."""

from turnwire.shared.keys import tenant_of
from turnwire.shared.own_settings import OwnSettings
from turnwire.shared.settings import Settings


class Retention:
    """The times of all tenants. The key file is read again when it has changed.

    Raises:
        SettingsError: there is a key file, and it cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self.own = OwnSettings(settings)
        self._default_ms = settings.retention_ms
        self._has_file = settings.api_keys_file is not None

    def ms(self, tenant: str) -> int:
        """Return how many ms a turn of this tenant is kept."""
        return self.own.of(tenant).retention_ms if self._has_file else self._default_ms

    @property
    def longest_ms(self) -> int:
        """How many ms the turns of that tenant are kept whose turns are kept longest."""
        return self.own.longest_retention_ms if self._has_file else self._default_ms

    def of_job_ms(self, job_id: str) -> int:
        """Return how many ms the turn of this job is kept."""
        return self.ms(tenant_of(job_id)) if self._has_file else self._default_ms
