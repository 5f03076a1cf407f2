"""Model backends: hooks that answer a turn by asking a model server, and a demo that needs none."""
