-- Extends the lease of an attempt. A lease that lapsed comes back if nobody took the turn.
-- Safe to repeat: it extends the same lease again.
-- It works on a server whose memory is full, too; otherwise every running turn would lose its lease there.
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
local holder = redis.call('GET', lease)
if not runs(turn, attempt, token) or (holder and holder ~= token) then
    return redis.error_reply('FENCED the lease of this attempt was lost')
end
-- A full server refuses a script's first write if it needs memory, and takes all writes after it. PEXPIRE needs none.
if redis.call('PEXPIRE', lease, lease_ms) == 0 then
    redis.call('SET', lease, token, 'PX', lease_ms)
end
redis.call('HSET', turn, 'lease_end', now_ms() + lease_ms)  -- until then the attempt counts as running
return redis.call('HEXISTS', turn, 'cancel_requested') == 1 and 2 or 1
