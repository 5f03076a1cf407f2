"""Model backends: hooks that answer a turn by asking a model server, or by pretending to."""
