-- Deleting the end of a turn's log.

-- is_later(cursor, other)
-- RETURNS true if the first of two cursors is the later one
local function is_later(cursor, other)
    local attempt, seq = string.match(cursor, '^(%d+)%-(%d+)$')
    local other_attempt, other_seq = string.match(other, '^(%d+)%-(%d+)$')
    attempt, other_attempt = tonumber(attempt), tonumber(other_attempt)
    return attempt > other_attempt or (attempt == other_attempt and tonumber(seq) > tonumber(other_seq))
end

-- delete_after(log, id)
-- Deletes the events after an id.
-- RETURNS the events that it deleted
local function delete_after(log, id)
    local deleted = {}
    while true do
        local rest = redis.call('XRANGE', log, '(' .. id, '+', 'COUNT', 500)
        if #rest == 0 then
            return deleted
        end
        local ids = {}
        for i, entry in ipairs(rest) do
            ids[i] = entry[1]
            deleted[#deleted + 1] = entry[2][2]
        end
        redis.call('XDEL', log, unpack(ids))
    end
end

-- events_after(log, id)
-- RETURNS the producers' events after an id
local function events_after(log, id)
    local events = {}
    for _, entry in ipairs(redis.call('XRANGE', log, '(' .. id, '+')) do
        if string.sub(entry[2][2], 1, 21) ~= '{"type":"session.run.' then
            events[#events + 1] = entry[2][2]
        end
    end
    return events
end

-- cut_log(log, turn, keeps_tail)
-- Deletes what a dead attempt had appended after its last checkpoint. The events up to `stands` stay, see
-- parts/progress.lua, and at least the first event. With `keeps_tail` all of them stay, because the next attempt goes
-- on with them.
-- RETURNS the id of the last event that stays, and the events after the last checkpoint, which it deleted or left; nil
-- and {} if there is no log
local function cut_log(log, turn, keeps_tail)
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
    if #first == 0 then
        return nil, {}
    end
    local last, stands = first[1][1], redis.call('HGET', turn, 'stands')
    if stands and stands ~= '' and is_later(stands, last) then
        last = stands
    end
    local cut = (keeps_tail and events_after or delete_after)(log, last)
    -- The last event may be an earlier one, because a rewind may have deleted what a step covers.
    return redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1][1], cut
end
