"""The only place that knows Redis: the turns, the queue, the Lua scripts, and the connections that carry them."""
