-- The order in which waiting jobs are taken. A lane holds the interactive or the batch turns of a pool, and a line for
-- each tenant that has some, in which jobs stand by time. The tenants of a lane take turns (start-time fair queueing):
-- each has a virtual start, the tenant with the smallest one is served, and a job moves it on by 1 / weight. A tenant
-- that comes back continues where it was, but never behind the virtual time, so that nobody saves up turns. When no
-- tenant of a lane has jobs left, all of this is forgotten.
-- The score in the queue tells whether a job waits in a line. If it does, the score is negative: the time in ms less
-- 10^13. Otherwise the job was claimed or put off, and the score is the time at which it is due. An entry of a line is
-- skipped if its job does not wait there any more, because a worker of another version has taken it.

local IN_LINE_MS = 10000000000000
local DEFAULT_POOL = 'default'

-- due_since(queue, at)
-- RETURNS true if a job has been due since `at` or longer
local function due_since(queue, at)
    return #redis.call('ZRANGEBYSCORE', queue, 0, at, 'LIMIT', 0, 1) > 0
        or #redis.call('ZRANGEBYSCORE', queue, '-inf', at - IN_LINE_MS, 'LIMIT', 0, 1) > 0
end

-- tenant_of(job_id)
-- RETURNS the tenant that the id of a job names
local function tenant_of(job_id)
    local run_id = string.gsub(string.gsub(job_id, '^persist:', ''), '^callback:', '')
    return string.match(run_id, '^chat:([^~:]+)~') or 'default'
end

-- stand_in_line(keys, tenant, job_id, since_us, is_new)
-- Puts a job into the line of its tenant. A new job goes to the end, also after the clock has gone back.
-- keys: `tenants` and `debts` of the lane, and `waiting`, the line
-- RETURNS true if no other job of the tenant waits in the lane
local function stand_in_line(keys, tenant, job_id, since_us, is_new)
    local first = redis.call('ZRANGE', keys.tenants, 0, 0, 'WITHSCORES')
    if first[1] == tenant or (first[1] and redis.call('ZSCORE', keys.tenants, tenant)) then
        local last = redis.call('ZRANGE', keys.waiting, -1, -1, 'WITHSCORES')[2]
        if last and is_new then
            since_us = math.max(since_us, last + 1)
        end
        redis.call('ZADD', keys.waiting, since_us, job_id)
        return false
    end
    local start = '0'
    if first[1] then
        local known = redis.call('ZMSCORE', keys.debts, '', tenant)  -- the virtual time, and where the tenant was
        start = math.max(tonumber(known[1] or first[2]), tonumber(known[2] or 0))
    end
    redis.call('ZADD', keys.tenants, start, tenant)
    redis.call('ZADD', keys.waiting, since_us, job_id)
    return true
end

local MOST_HINTS = 1000

-- push_hint(hints, job_id)
-- Wakes an idle worker. Hints are lossy, because the queue is the truth: only the newest ones are kept.
local function push_hint(hints, job_id)
    if redis.call('RPUSH', hints, job_id) > MOST_HINTS then
        redis.call('LTRIM', hints, -MOST_HINTS, -1)
    end
end

-- hints_of(hints, lane)
-- RETURNS the list of hints of a lane's pool, from the list of the default pool; lane: its name, or false
local function hints_of(hints, lane)
    local pool = lane and string.match(lane, '^[^:]+') or DEFAULT_POOL
    return pool == DEFAULT_POOL and hints or hints .. ':' .. pool
end
