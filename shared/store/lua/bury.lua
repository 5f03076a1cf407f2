-- Takes a dead worker off the list of workers and makes its jobs due at once. If it was the one that swept, another
-- worker may do so from now on.
-- Safe to repeat: the worker's entry goes last, and a job that somebody else has claimed since is left alone.
-- KEYS
--   workers               hash: worker -> entry of its last heartbeat
--   ring                  zset: the ids of the workers, in order
--   queue                 zset: job id -> when it may start
--   hints                 list: wakes idle workers of the default pool
--   claims                set: the jobs that the worker has claimed
--   sweeper               string: the worker that sweeps
-- ARGV
--   worker
--   entry                 the entry that the caller took for dead
--   in_progress_prefix    of the keys that hold the worker of each claimed job
--   lane_prefix           of the keys that hold the lanes of jobs
--   job_id …              the dead worker's jobs
-- RETURNS
--   1    the worker is off the list
--   0    nothing was changed: the worker has registered again, so it lives
-- include: time lanes

local workers, ring, queue, hints, claims, sweeper = unpack(KEYS)
local worker, entry, in_progress_prefix, lane_prefix = unpack(ARGV, 1, 4)
if (redis.call('HGET', workers, worker) or '') ~= entry then  -- '': a worker that stops before it has registered
    return 0
end
local now = now_ms()
for i = 5, #ARGV do
    local job_id = ARGV[i]
    if redis.call('GET', in_progress_prefix .. job_id) == worker then
        -- A full server refuses ZADD but not DEL. ZADD comes first, so that a job whose claim is deleted is due.
        redis.call('ZADD', queue, 'XX', now, job_id)
        local list = hints_of(hints, redis.call('GET', lane_prefix .. job_id))
        redis.call('RPUSH', list, job_id)
        redis.call('LTRIM', list, -1000, -1)
        redis.call('DEL', in_progress_prefix .. job_id)
    end
end
redis.call('DEL', claims)
if redis.call('GET', sweeper) == worker then
    redis.call('DEL', sweeper)
end
redis.call('ZREM', ring, worker)
redis.call('HDEL', workers, worker)
return 1
