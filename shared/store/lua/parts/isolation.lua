-- Deciding which workers run suspects; such a worker takes nothing else meanwhile. parts/suspicion.lua says which job
-- is a suspect, and how many may run together. ASIDE_MS in shared/store/attempts.py is how long a suspect waits for an
-- idle worker.

-- isolating_others(isolating, workers, worker, now)
-- RETURNS how many other workers that live run suspects now
local function isolating_others(isolating, workers, worker, now)
    local count = 0
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', isolating, now, '+inf')) do
        if other ~= worker and redis.call('HEXISTS', workers, other) == 1 then
            count = count + 1
        end
    end
    return count
end

local PATIENCE_MS = 30000  -- how long other jobs wait, at most, while all workers run suspects

-- others_starve(keys, others, now)
-- RETURNS true if jobs that are no suspects have been due for `PATIENCE_MS`, and no other worker is left to take them
local function others_starve(keys, others, now)
    return others + 1 >= redis.call('HLEN', keys.workers)
        and due_since(keys.queue, now - PATIENCE_MS)
end

-- isolation(keys, worker, slots, running, company, lease_ms, now)
-- Decides what a worker takes next. `running` is how many jobs it runs now; `company` is how many it runs at most while
-- it runs suspects, and 0 while it runs other jobs.
-- Only an idle worker begins with suspects. If no other worker runs any, it prefers them to other jobs. A further
-- worker takes suspects only if no other job is due, and if at least one worker is left for other jobs. If no worker is
-- idle, one of them takes nothing until it is. If no worker is left for other jobs, these wait for `PATIENCE_MS`; then
-- the worker takes them, too.
-- RETURNS 0 if it takes any jobs, n > 0 if it takes suspects that may run n at a time, -1 if it takes nothing
local function isolation(keys, worker, slots, running, company, lease_ms, now)
    local first = redis.call('ZREVRANGE', keys.suspects, 0, 0, 'WITHSCORES')
    if #first == 0 and company <= 0 then
        return 0
    end
    local others = isolating_others(keys.isolating, keys.workers, worker, now)
    if others_starve(keys, others, now) then
        redis.call('ZREM', keys.isolating, worker)
        return 0
    end
    if company > 0 and running > 0 then
        redis.call('ZADD', keys.isolating, now + 2 * lease_ms, worker)
        redis.call('PEXPIRE', keys.isolating, 2 * lease_ms)
        return company
    end
    if #first == 0 then
        return 0
    end
    if running > 0 then
        if others == 0 and redis.call('SET', keys.clearing, worker, 'NX', 'PX', 2 * lease_ms) then
            return -1
        elseif others == 0 and redis.call('GET', keys.clearing) == worker then
            redis.call('PEXPIRE', keys.clearing, 2 * lease_ms)
            return -1
        end
        return 0
    end
    local is_due = due_since(keys.queue, now)
    if others > 0 and (is_due or others + 1 >= redis.call('HLEN', keys.workers)) then
        return 0
    end
    redis.call('ZADD', keys.isolating, now + 2 * lease_ms, worker)
    redis.call('PEXPIRE', keys.isolating, 2 * lease_ms)
    redis.call('DEL', keys.clearing)
    return math.min(slots, tonumber(first[2]))
end
