"""One small program per job queue, all with the same two roles: `worker` runs jobs, `drive` enqueues them.

Each runs in the interpreter that has its library, so these modules import nothing of Turnwire's but `stamps`.
"""
