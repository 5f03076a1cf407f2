-- Gives a suspect back to the queue. This worker may not run it, because it runs other jobs; an idle worker takes it.
-- Safe to repeat: a job that another worker has claimed meanwhile is left alone.
-- KEYS
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the default pool
--   in_progress    string: the worker that has claimed the job
--   claims         set: the jobs that the worker has claimed
--   suspects       zset: job id -> how many jobs may run in its worker, all of them suspects
--   workers        hash: worker -> entry of its last heartbeat
--   lane           string: the job's lane; absent if it is the default one
-- ARGV
--   job_id
--   worker
--   limit          how many jobs may run in its worker
--   look_ms        when any worker looks at the job again, in case nobody has taken it
-- RETURNS
--   1              it waits for an idle worker
--   0              it was left alone
-- include: time lanes

local queue, hints, in_progress, claims, suspects, workers, lane = unpack(KEYS)
local job_id, worker, limit, look_ms = unpack(ARGV)
local holder = redis.call('GET', in_progress)
if (holder and holder ~= worker) or not redis.call('ZSCORE', queue, job_id) then
    redis.call('SREM', claims, job_id)
    return 0
end
redis.call('ZADD', suspects, limit, job_id)
redis.call('ZADD', queue, now_ms() + look_ms, job_id)
redis.call('DEL', in_progress)
redis.call('SREM', claims, job_id)
local list = hints_of(hints, redis.call('GET', lane))
for _ = 1, math.min(redis.call('HLEN', workers), 100) do  -- a hint for each worker: the first one may not be idle
    push_hint(list, job_id)
end
return 1
