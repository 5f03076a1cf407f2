-- Resumes a tenant or a project, some of its jobs at a time, oldest first: they go back to their lines, to the places
-- that they had, and wake idle workers. It is not paused any more after the first call, and forgotten after the last.
-- Safe to repeat: a repeat goes on. `Sweep` goes on, too, if the caller has died.
-- KEYS
--   queue                 zset: job id -> when it may start
--   hints                 list: wakes idle workers of the default pool
--   paused                hash: `tenant:<name>`, `project:<name>` -> since when it is paused
--   held                  zset: its jobs -> since when they wait, in µs
-- ARGV
--   field                 of the tenant or the project
--   count                 how many jobs at a time
--   lane_prefix           of the keys that hold the lanes of jobs
--   tenants_prefix        of the sets of a lane's tenants with jobs
--   debts_prefix          of the sets of a lane's other tenants, whose virtual start is still to come
--   waiting_prefix        of the lines: the jobs of a tenant in a lane
--   ageing_prefix         of the sets of the batch jobs of a pool
-- RETURNS
--   how many jobs are still to go back
-- include: time lanes serve

local queue, hints, paused, held = unpack(KEYS)
local field, count, lane_prefix, tenants_prefix, debts_prefix, waiting_prefix, ageing_prefix = unpack(ARGV)
local prefixes = {tenants = tenants_prefix, debts = debts_prefix, waiting = waiting_prefix}
if redis.call('HEXISTS', paused, field) == 1 then
    redis.call('HSET', paused, field, 'resuming')
end
local jobs = redis.call('ZRANGE', held, 0, count - 1, 'WITHSCORES')
for i = 1, #jobs, 2 do
    local job_id, since_us = jobs[i], jobs[i + 1]
    local score = redis.call('ZSCORE', queue, job_id)
    redis.call('ZREM', held, job_id)
    if score and tonumber(score) < 0 then
        local lane, tenant = redis.call('GET', lane_prefix .. job_id) or DEFAULT_POOL, tenant_of(job_id)
        stand_in_line(lane_keys(prefixes, lane, tenant), tenant, job_id, since_us, false)
        local batch_pool = string.match(lane, '^(.+):batch$')
        if batch_pool then
            redis.call('ZADD', ageing_prefix .. batch_pool, since_us, job_id)
        end
        push_hint(hints_of(hints, lane), job_id)
    end
end
local left = redis.call('ZCARD', held)
if left == 0 then
    redis.call('HDEL', paused, field)
end
return left
