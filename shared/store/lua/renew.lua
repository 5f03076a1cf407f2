-- Extends the lease of an attempt. A lease that lapsed comes back if nobody took the turn.
-- Safe to repeat: it extends the same lease again.
-- KEYS
--   turn        hash of the turn
--   lease       string: the lease of the running attempt
-- ARGV
--   attempt
--   token       the value of this attempt's lease
--   lease_ms
-- RETURNS
--   1           it is extended
--   2           it is extended, and somebody wants the turn cancelled
-- REFUSES
--   FENCED      the lease of this attempt was lost
-- include: time fence

local turn, lease = unpack(KEYS)
local attempt, token, lease_ms = unpack(ARGV)
local refused = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
redis.call('HSET', turn, 'lease_end', now_ms() + lease_ms)  -- until then the attempt counts as running
return redis.call('HEXISTS', turn, 'cancel_requested') == 1 and 2 or 1
