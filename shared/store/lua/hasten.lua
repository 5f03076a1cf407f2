-- Makes a job due at once that was put off. A job that stands in a line or that a worker has claimed is left alone.
-- Safe to repeat: a job that is due stays due.
-- KEYS
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the default pool
--   in_progress    string: the worker that has claimed the job
--   lane           string: the job's lane; absent if it is the default one
-- ARGV
--   job_id
-- RETURNS
--   1              it is due
--   0              it was left alone
-- include: time lanes

local queue, hints, in_progress, lane = unpack(KEYS)
local job_id = unpack(ARGV)
local score = redis.call('ZSCORE', queue, job_id)
if not score or redis.call('EXISTS', in_progress) == 1 or tonumber(score) < 0 then
    return 0
end
redis.call('ZADD', queue, now_ms(), job_id)
push_hint(hints_of(hints, redis.call('GET', lane)), job_id)
return 1
