"""The HTTP side: accepts turns, and sends their events to whoever follows them.

It never runs a turn: it writes a request, puts it in the queue, and reads the log. Any number of these processes
may run beside each other; none of them holds anything that another could miss.
"""
