-- Lists the jobs that a worker has claimed.
-- Safe to repeat: it changes nothing.
-- KEYS
--   queue                 zset: job id -> when it may start
-- ARGV
--   worker
--   in_progress_prefix    of the keys that hold the worker of each claimed job
-- RETURNS
--   the job ids

local queue = unpack(KEYS)
local worker, in_progress_prefix = unpack(ARGV)
local owned = {}
for _, job_id in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    if redis.call('GET', in_progress_prefix .. job_id) == worker then
        owned[#owned + 1] = job_id
    end
end
return owned
