-- A turn's log: a stream whose ids are `<attempt>-<seq>`.

-- add_events(log, channel_prefix, attempt, seq, events)
-- Appends events, and publishes them on the channel whose name is the prefix followed by the log's key. With the
-- prefix `-`, it publishes nothing: the caller tells the readers later. Events whose ids are in the log already count
-- as appended.
-- RETURNS nil, or the refusal: FENCED, GONE
local function add_events(log, channel_prefix, attempt, seq, events)
    local first_id = attempt .. '-' .. seq
    for i, event in ipairs(events) do
        local id = i == 1 and first_id or attempt .. '-' .. (seq + i - 1)
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
    if channel_prefix ~= '-' then  -- readers get the same bytes: the first id, then one event on each line
        redis.call('PUBLISH', channel_prefix .. log, first_id .. '\n' .. table.concat(events, '\n'))
    end
    return nil
end
