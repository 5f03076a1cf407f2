-- Drops the lease that a dead worker holds on a turn.
-- Safe to repeat: a lease of another worker, or none, stays as it is.
-- KEYS
--   lease     string: the lease of the running attempt
-- ARGV
--   worker    the dead worker
-- RETURNS
--   1         the lease is gone
--   0         the lease was not that worker's

local lease = unpack(KEYS)
local worker = unpack(ARGV)
local holder = redis.call('GET', lease)
if holder and string.sub(holder, 1, #worker + 1) == worker .. '#' then
    return redis.call('DEL', lease)
end
return 0
