"""The domain that the API and the worker share: words, states, events, keys, identity, errors and settings.

Nothing here imports `turnwire.api` or `turnwire.worker`. Only the room `store` knows Redis.
"""

if __name__ == "shared":
    raise ImportError("Turnwire's modules are imported as `turnwire.shared`, not as `shared`")
