"""Knows who follows which turn, and from which cursor. The objects here live as long as one reader and know no HTTP."""
