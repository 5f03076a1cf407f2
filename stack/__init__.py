"""Runs Turnwire's processes on one machine: for development, tests, benchmarks and fault injection.

It knows the product from outside: `python -m api`, `python -m worker`, their settings, their readiness.
Nothing here is in the wheel, and neither api, worker nor shared imports it.
"""
