-- Hands out turns that somebody asked to cancel and that no process watches any more, because their API process has
-- died.
-- Safe to repeat: turns that a lost reply named are handed out again after `watch_ms`.
-- KEYS
--   cancelling    zset: run id -> until when a process watches it
-- ARGV
--   watch_ms      for how long the caller watches them
--   limit         how many to hand out at most
--   starts        1: the caller has just started, and takes all turns; 0: it takes only turns that nobody watches
-- RETURNS
--   the run ids
-- include: time

local cancelling = unpack(KEYS)
local watch_ms, limit, starts = unpack(ARGV)
local now = now_ms()
local found = redis.call('ZRANGEBYSCORE', cancelling, '-inf', starts == '1' and '+inf' or now, 'LIMIT', 0, limit)
for _, run_id in ipairs(found) do
    redis.call('ZADD', cancelling, now + watch_ms, run_id)
end
return found
