-- A turn's log: a stream whose ids are `<attempt>-<seq>`.

-- add_events(log, attempt, seq, events)
-- Appends events and publishes them. Events whose ids are in the log already count as appended.
-- RETURNS nil, or the refusal: FENCED, GONE
local function add_events(log, attempt, seq, events)
    for i, event in ipairs(events) do
        local id = attempt .. '-' .. (seq + i - 1)
        local added
        if seq + i == 1 then
            added = redis.pcall('XADD', log, id, 'e', event)  -- only the first event creates a log
        else
            added = redis.pcall('XADD', log, 'NOMKSTREAM', id, 'e', event)
        end
        if not added then
            return redis.error_reply('GONE the log of this turn was erased')
        end
        if added.err then
            if not string.find(added.err, 'equal or smaller', 1, true) then
                return added
            end
            if #redis.call('XRANGE', log, id, id) == 0 then
                return redis.error_reply('FENCED a newer attempt writes to this turn')
            end
        end
    end
    -- Readers get the same bytes: the first id, then one event on each line.
    redis.call('PUBLISH', log, attempt .. '-' .. seq .. '\n' .. table.concat(events, '\n'))
    return nil
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

-- cut_log(log, steps, turn)
-- Deletes what a dead attempt had appended after its last checkpoint. The events that the last completed step or the
-- last suspension covers stay, and at least the first event. A step record starts with what is read here.
-- RETURNS the id of the last event that stays, and the events that it deleted; nil and {} if there is no log
local function cut_log(log, steps, turn)
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
    if #first == 0 then
        return nil, {}
    end
    local attempt, seq = string.match(first[1][1], '(%d+)-(%d+)')
    attempt, seq = tonumber(attempt), tonumber(seq)
    local function cover(a, s)
        a, s = tonumber(a), tonumber(s)
        if a and (a > attempt or (a == attempt and s > seq)) then
            attempt, seq = a, s
        end
    end
    for _, record in ipairs(redis.call('HVALS', steps)) do
        cover(string.match(record, '^{"status":"completed","cursor":"(%d+)%-(%d+)"'))
    end
    cover(string.match(redis.call('HGET', turn, 'stands') or '', '^(%d+)%-(%d+)$'))
    local cut = delete_after(log, attempt .. '-' .. seq)
    -- The last event may be an earlier one, because a rewind may have deleted what a step covers.
    return redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1][1], cut
end
