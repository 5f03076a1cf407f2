-- Makes held jobs due, although what holds them stays paused: their turns have ended or were erased, and a worker does
-- what is left to do for them.
-- Safe to repeat: a job that is not held is left alone.
-- KEYS
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the default pool
--   paused         hash: `tenant:<name>`, `project:<name>` -> since when it is paused
-- ARGV
--   held_prefix    of the sets of held jobs
--   lane_prefix    of the keys that hold the lanes of jobs
--   job_id …       the jobs
-- RETURNS
--   how many were held
-- include: time lanes

local queue, hints, paused = unpack(KEYS)
local held_prefix, lane_prefix = unpack(ARGV, 1, 2)
local count = 0
for _, field in ipairs(redis.call('HKEYS', paused)) do
    for i = 3, #ARGV do
        local job_id = ARGV[i]
        if redis.call('ZREM', held_prefix .. field, job_id) == 1 then
            count = count + 1
            redis.call('ZADD', queue, 'XX', now_ms(), job_id)
            push_hint(hints_of(hints, redis.call('GET', lane_prefix .. job_id)), job_id)
        end
    end
end
return count
