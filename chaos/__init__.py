"""Breaks a running service on purpose, then reconciles every turn. `python3 dev.py chaos --minutes N`."""
