-- The grace is the time after an outage in which no worker takes over another one's jobs. During the outage no worker
-- could extend its claims, so they lapsed; the grace lets the workers extend them first.
-- The score of a claimed job ends in .5, so that a lapsed claim can be told from a job that waits.
-- If a job waits in a line since a time in the future, the clock has gone back; see parts/lanes.lua.
-- The beat is the time of the last heartbeat of any worker. Keys expire by the clock of the server, so a step of this
-- clock looks like an outage, and is treated in the same way.

local SILENT_LEASES = 0.6  -- heartbeats come three times in a lease's time
local BEAT_TTL_MS = 604800000
local STEP_MS = 1000  -- a clock that goes back by less does not matter

-- in_grace(beat, grace, lease_ms, now)
-- RETURNS true if lapsed claims are left alone
local function in_grace(beat, grace, lease_ms, now)
    local last = redis.call('GET', beat)
    return redis.call('EXISTS', grace) == 1 or (last and math.abs(now - last) > lease_ms * SILENT_LEASES)
end

-- put_forward(zset, step_ms)
-- Takes a step of the clock out of all scores, which are times.
local function put_forward(zset, step_ms)
    local entries = redis.call('ZRANGE', zset, 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do
        redis.call('ZADD', zset, string.format('%.2f', entries[i + 1] - step_ms), entries[i])
    end
end

-- step_in_queue(queue, now)
-- Reads a step of the clock from the jobs that stand in lines. No heartbeat may tell, because there may have been no
-- worker.
-- RETURNS by how many ms the clock has gone back, as far as one can tell
local function step_in_queue(queue, now)
    local latest = redis.call('ZREVRANGEBYSCORE', queue, '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return latest[2] and latest[2] + IN_LINE_MS - now or 0
end

-- keep_beat(keys, lease_ms, now)
-- Notes a heartbeat. The first one after an outage begins the grace. The first one after the clock has gone back moves
-- the times of the queued jobs back by the same amount.
local function keep_beat(keys, lease_ms, now)
    local last = redis.call('SET', keys.beat, now, 'PX', BEAT_TTL_MS, 'GET')
    local is_silent = not last or now - last > lease_ms * SILENT_LEASES
    local step_ms = is_silent and step_in_queue(keys.queue, now) or last - now
    if (last and is_silent) or step_ms > STEP_MS then
        redis.call('SET', keys.grace, 1, 'PX', math.floor(lease_ms / 3) + 1000)
    end
    if step_ms > STEP_MS then
        put_forward(keys.queue, step_ms)
        put_forward(keys.open_turns, step_ms)
    end
end
