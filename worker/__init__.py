"""The worker process. It runs turns: claim, load, produce, append, settle. It imports `shared`, never `api`."""

from turnwire.shared.store.lean_imports import import_lean

import_lean()
