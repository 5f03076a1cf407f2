"""The HTTP side. It accepts turns, and sends their events to the clients that follow them.

It never runs a turn. It writes a request, puts it in the queue, and reads the log. Any number of these processes may
run side by side, because none of them holds state that another one would need.
"""

from turnwire.shared.store.lean_imports import import_lean

import_lean()
