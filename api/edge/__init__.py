"""The HTTP edge: it reads requests and writes bytes. Its objects live as long as one connection and know no turn."""
