"""Runs turns: claim, load, produce, append, settle. Imports `shared`, never `api`."""
