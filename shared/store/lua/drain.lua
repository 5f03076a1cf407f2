-- Asks a worker to drain. It is told at once, and learns it with its next heartbeat in any case.
-- Safe to repeat: the wish is written again.
-- KEYS
--   workers       hash: worker -> entry of its last heartbeat
--   drain         string: is there while an operator wants this worker to drain
-- ARGV
--   worker
--   wish_ms       how long the wish counts: longer than any heartbeat is late
--   channel       pub/sub channel to which the worker's process subscribes
-- RETURNS
--   1             it is asked
--   0             there is no such worker
-- include: time

local workers, drain = unpack(KEYS)
local worker, wish_ms, channel = unpack(ARGV)
if redis.call('HEXISTS', workers, worker) == 0 then
    return 0
end
redis.call('SET', drain, now_ms(), 'PX', wish_ms)
redis.call('PUBLISH', channel, '')
return 1
