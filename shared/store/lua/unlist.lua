-- Takes turns off the list that operators see, because they do not exist any more.
-- Safe to repeat: a turn that was listed anew since, because its session was used again, stays on the list.
-- KEYS
--   listed          zset: the newest turns, for operators -> when they were first enqueued, in µs
-- ARGV
--   run_id since …  the turns, and when they were first enqueued
-- RETURNS
--   how many it took off

local listed = unpack(KEYS)
local count = 0
for i = 1, #ARGV, 2 do
    if tonumber(redis.call('ZSCORE', listed, ARGV[i]) or '-1') == tonumber(ARGV[i + 1]) then
        count = count + redis.call('ZREM', listed, ARGV[i])
    end
end
return count
