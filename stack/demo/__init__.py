"""`dev.py demo` shows a turn that loses its worker and continues in another one, while nothing is paid for twice."""
