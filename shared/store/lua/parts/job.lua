-- Putting a job on the queue, in arq's own format, and waking an idle worker. The job waits in the line of its tenant,
-- see parts/lanes.lua.

-- job_keys(first)
-- RETURNS by name the keys that the script `enqueue` has; KEYS[first] is the first of them
local function job_keys(first)
    return {
        open_turns = KEYS[first], queue = KEYS[first + 1], hints = KEYS[first + 2], job = KEYS[first + 3],
        in_progress = KEYS[first + 4], billed = KEYS[first + 5], tenants = KEYS[first + 6], debts = KEYS[first + 7],
        waiting = KEYS[first + 8], ageing = KEYS[first + 9], lane = KEYS[first + 10], weight = KEYS[first + 11],
        reserving = KEYS[first + 12], newcomers = KEYS[first + 13], callbacks = KEYS[first + 14],
        listed = KEYS[first + 15]
    }
end

-- find_job(keys, job_id)
-- RETURNS whether the job waits, and whether a worker runs it
local function find_job(keys, job_id)
    if redis.call('EXISTS', keys.job, keys.in_progress) == 0 then
        return false, false
    end
    local waits = redis.call('EXISTS', keys.job) == 1 and redis.call('ZSCORE', keys.queue, job_id)
    return waits, redis.call('EXISTS', keys.in_progress) == 1
end

-- is_full(keys, max_queued)
-- Callbacks do not count, because a server that is away for days keeps many of them.
-- RETURNS true if as many jobs wait as may wait
local function is_full(keys, max_queued)
    local jobs = redis.call('ZCARD', keys.queue)
    return jobs >= max_queued and jobs - redis.call('ZCARD', keys.callbacks) >= max_queued
end

local NEWCOMERS_MS = 10000

-- put_job(keys, job, waits, runs, since_us)
-- Enqueues a job that does not wait yet, and lets the sweep look at it. A job that is running gets the new bytes; its
-- `finish` sees that they differ and makes the job run again.
-- keys: see job_keys
-- job: `id`, `tenant`, `bytes`, `ttl_ms`, `sweep_ms`, `lane`, `is_batch`, `share` and `share_ms`, as in `enqueue`
-- RETURNS 1 if it is enqueued now, and 0 if it waits already
local function put_job(keys, job, waits, runs, since_us)
    local now, job_id, ttl_ms = math.floor(since_us / 1000), job.id, job.ttl_ms
    redis.call('ZADD', keys.open_turns, now + job.sweep_ms, job_id)
    if string.sub(job_id, 1, 5) == 'chat:' then
        redis.call('ZADD', keys.listed, 'NX', since_us, job_id)  -- `due` keeps it short
    end
    redis.call('PERSIST', keys.billed)  -- the rows that it counts come again, until `finish` ends the job
    if waits and not runs then
        return 0
    end
    redis.call('SET', keys.job, job.bytes, 'PX', ttl_ms)
    if runs then
        return 1
    end
    redis.call('ZADD', keys.queue, string.format('%d', now - IN_LINE_MS), job_id)
    if stand_in_line(keys, job.tenant, job_id, since_us, true) and redis.call('EXISTS', keys.reserving) == 1 then
        redis.call('RPUSH', keys.newcomers, job_id)
        redis.call('LTRIM', keys.newcomers, -100, -1)
        redis.call('PEXPIRE', keys.newcomers, NEWCOMERS_MS)
    end
    if job.lane ~= '' then
        redis.call('SET', keys.lane, job.lane, 'PX', ttl_ms)
    end
    if job.is_batch == '1' then
        redis.call('ZADD', keys.ageing, since_us, job_id)
    end
    if job.share ~= '' then
        redis.call('SET', keys.weight, job.share, 'PX', job.share_ms)
    end
    push_hint(keys.hints, job_id)
    return 1
end
