-- Suspended turns. An index holds every one of them, so that operators can count them: `suspended` has an entry
-- `<pool> <run id>` for each, whose score says since when it is suspended, in µs. `lines` counts them: an entry
-- `<pool> <tenant>` has the number as its score. Both change together, so they always agree.

-- entry_of(turn)
-- RETURNS the entry of a turn in the index
local function entry_of(turn)
    local run_id, pool = unpack(redis.call('HMGET', turn, 'run_id', 'pool'))
    return (pool or 'default') .. ' ' .. run_id
end

-- count_entry(lines, entry, change)
-- Counts an entry that has come or gone.
local function count_entry(lines, entry, change)
    local pool, tenant = string.match(entry, '^(%S+) chat:([^~:]+)~')
    local line = (pool or string.match(entry, '^%S+')) .. ' ' .. (tenant or 'default')
    local count = tonumber(redis.call('ZSCORE', lines, line) or '0') + change
    if count > 0 then
        redis.call('ZADD', lines, string.format('%d', count), line)
    else
        redis.call('ZREM', lines, line)
    end
end

-- list_suspended(suspended, lines, entry, since_us)
-- Adds a turn to the index, unless it is there.
-- RETURNS true if it was added
local function list_suspended(suspended, lines, entry, since_us)
    local is_new = not redis.call('ZSCORE', suspended, entry)  -- a full server refuses ZADD, also if it adds nothing
        and redis.call('ZADD', suspended, string.format('%d', since_us), entry) == 1
    if is_new then
        count_entry(lines, entry, 1)
    end
    return is_new
end

-- unlist_suspended(suspended, lines, entry)
-- Takes a turn off the index.
-- RETURNS true if it was there
local function unlist_suspended(suspended, lines, entry)
    local was_there = redis.call('ZREM', suspended, entry) == 1
    if was_there then
        count_entry(lines, entry, -1)
    end
    return was_there
end

-- wake(turn, suspended, lines, now)
-- Queues a suspended turn again, because its signal or its timeout is stored.
local function wake(turn, suspended, lines, now)
    redis.call('HSET', turn, 'status', 'queued', 'resume_reason', 'signal', 'updated_at', now)
    redis.call('HDEL', turn, 'awaiting', 'deadline')
    unlist_suspended(suspended, lines, entry_of(turn))
end
