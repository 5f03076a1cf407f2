-- Notes that a process watches a turn that somebody asked to cancel, or that nobody has to watch it any more.
-- Safe to repeat: it writes the same again.
-- KEYS
--   cancelling    zset: run id -> until when a process watches it
-- ARGV
--   run_id
--   watch_ms      for how long, from now on; 0: nobody has to watch it any more
-- RETURNS
--   1
-- include: time

local cancelling = unpack(KEYS)
local run_id, watch_ms = unpack(ARGV)
if watch_ms == '0' then
    redis.call('ZREM', cancelling, run_id)
    return 1
end
redis.call('ZADD', cancelling, now_ms() + watch_ms, run_id)
redis.call('PEXPIRE', cancelling, 86400000)  -- every entry is renewed or removed long before
return 1
