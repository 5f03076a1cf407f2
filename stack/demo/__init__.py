"""`dev.py demo`: a turn loses its worker before your eyes, goes on in another one, and nothing is paid for twice."""
