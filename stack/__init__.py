"""Runs Turnwire's processes on one machine: for development, tests, benchmarks and fault injection.

It knows Turnwire from outside: `python -m api`, `python -m worker`, their settings, and how they say that they are
ready. Nothing of this package is in the wheel, and neither api, worker nor shared imports it.
"""
