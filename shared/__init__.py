"""What the API and the worker both know: words, keys, scripts, settings.

Nothing here imports `api` or `worker`, and nothing here decides what a product does with a turn.
"""

__version__ = "0.1.0"
