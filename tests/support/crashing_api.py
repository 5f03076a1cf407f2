"""`python -m tests.support.crashing_api`: the ordinary API with a fault at one of its writes; see crashing_worker."""

import sys

from tests.support.crashing_worker import plant_from_environment

if __name__ == "__main__":
    from turnwire.api.__main__ import main

    plant_from_environment()
    sys.exit(main())
