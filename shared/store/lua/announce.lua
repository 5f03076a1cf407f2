-- Puts a turn on the sweep's list before the turn itself is written. If the caller dies before it enqueues the
-- turn's job, the sweep looks at the turn after `look_ms`.
-- Safe to repeat: an entry that is there already stays as it is.
-- KEYS
--   open_turns    zset: job id -> when the sweep should look at it
-- ARGV
--   run_id
--   look_ms       after how many ms the sweep should look
-- RETURNS
--   a mark, with which `forget` takes the entry back; '' if the entry was there already
-- include: time

local open_turns = unpack(KEYS)
local run_id, look_ms = unpack(ARGV)
local mark = now_ms() + look_ms
if redis.call('ZADD', open_turns, 'NX', mark, run_id) == 1 then
    return string.format('%d', mark)
end
return ''
