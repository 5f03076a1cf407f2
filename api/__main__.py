"""`python -m api`: the environment becomes settings, the settings a server."""

import os
import sys

from turnwire.api.server import serve
from turnwire.shared.errors import SettingsError
from turnwire.shared.settings import Settings


def main() -> int:
    """Exit status 2: the settings are wrong; 1: it crashed."""
    try:
        return 0 if serve(Settings.from_env(os.environ)) else 1
    except SettingsError as error:
        sys.stderr.write(f"turnwire api: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
