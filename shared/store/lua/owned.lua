-- Lists the jobs that a worker has claimed. A claim that lapsed or that another worker has by now is not listed.
-- Safe to repeat: it changes nothing.
-- KEYS
--   claims                set: the jobs that the worker has claimed
-- ARGV
--   worker
--   in_progress_prefix    of the keys that hold the worker of each claimed job
-- RETURNS
--   the job ids

local claims = unpack(KEYS)
local worker, in_progress_prefix = unpack(ARGV)
local owned = {}
for _, job_id in ipairs(redis.call('SMEMBERS', claims)) do
    if redis.call('GET', in_progress_prefix .. job_id) == worker then
        owned[#owned + 1] = job_id
    end
end
return owned
