-- Sets when the sweep looks at a turn that is on its list.
-- Safe to repeat: a repeat sets it again, and it never adds a turn to the list.
-- KEYS
--   open_turns    zset: job id -> when the sweep should look at it
-- ARGV
--   job_id
--   delay_ms      after how many ms the sweep should look
-- RETURNS
--   1
-- include: time

local open_turns = unpack(KEYS)
local job_id, delay_ms = unpack(ARGV)
redis.call('ZADD', open_turns, 'XX', now_ms() + delay_ms, job_id)
return 1
