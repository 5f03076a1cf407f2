"""Agents of other frameworks as turns. Import a framework's own module: nothing is imported from here."""
