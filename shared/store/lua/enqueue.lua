-- Puts a job on arq's queue, in arq's own format, and wakes an idle worker.
-- Safe to repeat: a job that waits stays as it is. A job that is running gets the new bytes; its `finish` sees that
-- they differ and makes the job run again.
-- The job waits in the line of its tenant, see parts/lanes.lua.
-- KEYS
--   open_turns     zset: job id -> when the sweep should look at it
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the job's pool
--   job            string: the serialized job
--   in_progress    string: the worker that has claimed the job
--   pending        zset: job id of an answer to persist -> since when, in µs
--   billed         string: up to which row the turn's ledger rows are published
--   tenants        zset: tenants with jobs in the lane -> their virtual start
--   debts          zset: other tenants -> their virtual start, if it is still to come; '' -> the virtual time
--   waiting        zset: the line: the tenant's jobs in the lane -> since when, in µs
--   ageing         zset: batch jobs of the pool -> since when, in µs
--   lane           string: the job's lane; absent if it is the default one
--   weight         string: how many jobs the tenant may take in its turn; absent if one
--   reserving      string: is there while a worker has none but reserved slots
--   newcomers      list: wakes such workers of the job's pool
--   callbacks      zset: job id of a callback that was not made yet -> since when, in µs
--   listed         zset: the newest turns, for operators -> when they were first enqueued, in µs
-- ARGV
--   job_id
--   bytes          the serialized job
--   job_ttl_ms
--   max_queued     how many jobs may wait, without callbacks: a server that is away for days keeps many of them
--   sweep_ms       when the sweep should look at the turn
--   is_pending     1: the job persists an answer and is listed among the pending ones; 0: it runs a turn
--   tenant
--   lane_name      '' for the default lane
--   is_batch       1: a lane of batch turns
--   share          the tenant's weight; '' if the caller does not know it
--   share_ms       how long that counts
-- RETURNS
--   1              it is enqueued
--   0              it waits already
-- REFUSES
--   QUEUE_FULL     too many jobs wait
-- include: time lanes

local open_turns, queue, hints, job, in_progress, pending, billed,
    tenants, debts, waiting, ageing, lane, weight, reserving, newcomers, callbacks, listed = unpack(KEYS)
local job_id, bytes, job_ttl_ms, max_queued, sweep_ms, is_pending,
    tenant, lane_name, is_batch, share, share_ms = unpack(ARGV)
local NEWCOMERS_MS = 10000
local since_us = now_us()
local now = math.floor(since_us / 1000)
local waits, runs = false, false
if redis.call('EXISTS', job, in_progress) > 0 then
    waits = redis.call('EXISTS', job) == 1 and redis.call('ZSCORE', queue, job_id)
    runs = redis.call('EXISTS', in_progress) == 1
end
local function is_full()
    local jobs = redis.call('ZCARD', queue)
    return jobs >= tonumber(max_queued) and jobs - redis.call('ZCARD', callbacks) >= tonumber(max_queued)
end
if not waits and is_full() then
    return redis.error_reply('QUEUE_FULL too many turns are waiting')
end
redis.call('ZADD', open_turns, now + sweep_ms, job_id)
if string.sub(job_id, 1, 5) == 'chat:' then
    redis.call('ZADD', listed, 'NX', since_us, job_id)  -- `due` keeps it short
end
redis.call('PERSIST', billed)  -- the rows that it counts come again, until `finish` ends the job
if is_pending == '1' and not redis.call('ZSCORE', pending, job_id) then
    local last = redis.call('ZRANGE', pending, -1, -1, 'WITHSCORES')[2] or 0
    -- No two entries have the same score, because a page of the list ends at a score.
    redis.call('ZADD', pending, string.format('%d', math.max(now * 1000, last + 1)), job_id)
end
if waits and not runs then
    return 0
end
redis.call('SET', job, bytes, 'PX', job_ttl_ms)
if not runs then
    redis.call('ZADD', queue, string.format('%d', now - IN_LINE_MS), job_id)
    local keys = {tenants = tenants, debts = debts, waiting = waiting}
    if stand_in_line(keys, tenant, job_id, since_us, true) and redis.call('EXISTS', reserving) == 1 then
        redis.call('RPUSH', newcomers, job_id)
        redis.call('LTRIM', newcomers, -100, -1)
        redis.call('PEXPIRE', newcomers, NEWCOMERS_MS)
    end
    if lane_name ~= '' then
        redis.call('SET', lane, lane_name, 'PX', job_ttl_ms)
    end
    if is_batch == '1' then
        redis.call('ZADD', ageing, since_us, job_id)
    end
    if share ~= '' then
        redis.call('SET', weight, share, 'PX', share_ms)
    end
    push_hint(hints, job_id)
end
return 1
