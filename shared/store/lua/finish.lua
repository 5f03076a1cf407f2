-- Ends a worker's claim on a job, and publishes the turn's ledger rows that are not on their stream yet.
-- Safe to repeat: each row is published once, and a worker that has lost its claim changes nothing.
-- If the job's bytes have changed, somebody asked for the turn meanwhile, and the job runs again at once.
-- KEYS
--   open_turns      zset: job id -> when the sweep should look at it
--   queue           zset: job id -> when it may start
--   hints           list: wakes idle workers of the default pool
--   job             string: the serialized job
--   in_progress     string: the worker that has claimed the job
--   pending         zset: job id of an answer to persist -> since when, in µs
--   billed          string: up to which row the turn's ledger rows are published
--   rows            stream: the published ledger rows
--   usage           hash: the tenant's sums of published rows
--   claims          set: the jobs that the worker has claimed
--   lane            string: the job's lane; absent if it is the default one
--   own_open        set: the tenant's open turns, as far as they are counted
--   named_rows      zset: id of a published row of the turn's session that names a user -> when it was added
--   row_index       hash: how much of the stream is in such indexes; see parts/row_index.lua
--   used            zset: the tenants with sums of published rows, by name
-- ARGV
--   job_id
--   other_id        the turn's other job: the one that persists its answer, or the one that runs it
--   worker
--   bytes           the job as the worker took it
--   outcome         ended: the turn is terminal. parked: something else will enqueue it. again: it runs again.
--   delay_ms        again: when it may run. parked: when the sweep should look; '' leaves that as it was.
--   retention_ms    how long the mark of what is published outlives the turn
--   max_rows        about how many rows the stream keeps
--   index_ms        how long the index of a session's rows is kept
--   row …           the turn's ledger rows, oldest first
-- RETURNS
--   1               the job is gone
--   0               the job will run again
--   -1              the job was left alone: another worker has claimed it
-- include: time sums row_user row_index publish

local open_turns, queue, hints, job, in_progress, pending, billed, rows, usage, claims, lane, own_open, named_rows,
    row_index, used = unpack(KEYS)
local job_id, other_id, worker, bytes, outcome, delay_ms, retention_ms, max_rows, index_ms = unpack(ARGV, 1, 9)
local NOTED_EACH = 100  -- the first row of a tenant notes its name, and later every hundredth, in case the name is lost
local holder, current, billed_now = unpack(redis.call('MGET', in_progress, job, billed))
if holder and holder ~= worker then
    redis.call('SREM', claims, job_id)
    return -1
end
if current and current ~= bytes then
    outcome, delay_ms = 'again', '0'
end
local keys = {billed = billed, rows = rows, usage = usage, named_rows = named_rows, row_index = row_index}
local is_open = redis.call('ZSCORE', open_turns, other_id)
    or (outcome ~= 'ended' and redis.call('ZSCORE', open_turns, job_id))  -- a late repeat finds no entry
-- A full server refuses a script's first write if it needs memory, and takes every write after that. SREM needs none,
-- and the end of a job frees memory.
redis.call('SREM', claims, job_id)
local new_rows = {unpack(ARGV, 10)}
local held = publish(keys, billed_now, is_open, retention_ms, max_rows, index_ms, new_rows)
if held and held % NOTED_EACH <= #new_rows then
    -- include: lanes
    redis.call('ZADD', used, 0, tenant_of(job_id))
end
if outcome ~= 'again' then
    redis.call('DEL', job, in_progress, lane)
    redis.call('ZREM', queue, job_id)
    if outcome == 'ended' then
        redis.call('ZREM', open_turns, job_id)
        redis.call('SREM', own_open, job_id)
        if string.sub(job_id, 1, 5) ~= 'chat:' then
            redis.call('ZREM', pending, job_id)
        end
    elseif delay_ms ~= '' then
        redis.call('ZADD', open_turns, 'XX', now_ms() + delay_ms, job_id)
    end
    return 1
end
redis.call('ZADD', queue, now_ms() + delay_ms, job_id)  -- before the claim goes: the job is always somewhere
redis.call('DEL', in_progress)
if delay_ms == '0' then
    -- include: lanes
    push_hint(hints_of(hints, redis.call('GET', lane)), job_id)
end
return 0
