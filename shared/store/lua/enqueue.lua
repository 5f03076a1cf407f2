-- Puts a job on arq's queue, in arq's own format, and wakes an idle worker.
-- Safe to repeat: a job that waits stays as it is. A job that is running gets the new bytes; its `finish` sees that
-- they differ and makes the job run again.
-- KEYS
--   open_turns     zset: job id -> when the sweep should look at it
--   queue          zset: job id -> when it may start
--   hints          list: wakes idle workers of the job's pool
--   job            string: the serialized job
--   in_progress    string: the worker that has claimed the job
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
--   pending        zset: job id of an answer to persist -> since when, in µs
-- ARGV
--   job_id
--   tenant
--   is_pending     1: the job persists an answer and is listed among the pending ones; 0: it runs a turn
--   bytes          the serialized job
--   job_ttl_ms
--   max_queued     how many jobs may wait, without callbacks
--   sweep_ms       when the sweep should look at the turn
--   lane_name      '' for the default lane
--   is_batch       1: a lane of batch turns
--   share          the tenant's weight; '' if the caller does not know it
--   share_ms       how long that counts
-- RETURNS
--   1              it is enqueued
--   0              it waits already
-- REFUSES
--   QUEUE_FULL     too many jobs wait
-- include: time lanes job

local pending = KEYS[17]
local job_id, tenant, is_pending, bytes, job_ttl_ms, max_queued, sweep_ms,
    lane_name, is_batch, share, share_ms = unpack(ARGV)
local keys = job_keys(1)
local waits, runs = find_job(keys, job_id)
if not waits and is_full(keys, tonumber(max_queued)) then
    return redis.error_reply('QUEUE_FULL too many turns are waiting')
end
local since_us = now_us()
if is_pending == '1' and not redis.call('ZSCORE', pending, job_id) then
    local last = redis.call('ZRANGE', pending, -1, -1, 'WITHSCORES')[2] or 0
    -- No two entries have the same score, because a page of the list ends at a score.
    local now = math.floor(since_us / 1000)
    redis.call('ZADD', pending, string.format('%d', math.max(now * 1000, last + 1)), job_id)
end
return put_job(keys, {
    id = job_id, tenant = tenant, bytes = bytes, ttl_ms = job_ttl_ms, sweep_ms = sweep_ms, lane = lane_name,
    is_batch = is_batch, share = share, share_ms = share_ms
}, waits, runs, since_us)
