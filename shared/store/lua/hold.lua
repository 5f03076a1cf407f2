-- Gives back a job whose turn does not start, because its tenant or its project is paused. The job waits until that is
-- resumed; if that has happened meanwhile, it is due at once.
-- Safe to repeat: a job that another worker has claimed meanwhile is left alone.
-- KEYS
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the default pool
--   in_progress    string: the worker that has claimed the job
--   claims         set: the jobs that the worker has claimed
--   lane           string: the job's lane; absent if it is the default one
--   paused         hash: `tenant:<name>`, `project:<name>` -> since when it is paused
--   held           zset: the jobs of this tenant or project -> since when they wait, in µs
-- ARGV
--   job_id
--   worker
--   field          of the tenant or the project
--   since_us       since when the turn waits
-- RETURNS
--   1              it is held
--   0              it is due, or was left alone
-- include: time lanes on_pause

local queue, hints, in_progress, claims, lane, paused, held = unpack(KEYS)
local job_id, worker, field, since_us = unpack(ARGV)
local holder = redis.call('GET', in_progress)
if (holder and holder ~= worker) or not redis.call('ZSCORE', queue, job_id) then
    redis.call('SREM', claims, job_id)
    return 0
end
local holds = is_paused(paused, field)
if holds then
    redis.call('ZADD', held, 'NX', since_us, job_id)
    redis.call('ZADD', queue, string.format('%d', math.floor(since_us / 1000) - IN_LINE_MS), job_id)
else
    redis.call('ZADD', queue, now_ms(), job_id)
    push_hint(hints_of(hints, redis.call('GET', lane)), job_id)
end
redis.call('DEL', in_progress)
redis.call('SREM', claims, job_id)
return holds and 1 or 0
