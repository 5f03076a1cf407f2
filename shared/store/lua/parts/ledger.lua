-- A turn's ledger rows.

-- unknown_use(steps, attempt)
-- A step record starts with what is read here. Nobody knows what the attempt used after its last checkpoint.
-- RETURNS what a dead attempt is known to have used: the most that one of its checkpoints says
local function unknown_use(steps, attempt)
    local most, found = -1, '{"model_calls":null,"tokens_in":null,"tokens_out":null,"cost_nanos":null,"currency":null,'
        .. '"price_version":null,"model_called":null}'
    for _, record in ipairs(redis.call('HVALS', steps)) do
        local by, used = string.match(record, '^{"status":"%a+","cursor":"(%d+)%-%d+","usage":({.-}),"index":')
        local calls = tonumber(by) == tonumber(attempt) and tonumber(string.match(used, '"model_calls":(%d+)')) or -1
        if calls > most then
            most, found = calls, used
        end
    end
    return '{"partial":true,' .. string.sub(found, 2, -2) .. ',"first_event_ms":null,"first_token_ms":null}'
end

-- nothing_used()
-- RETURNS the use of an attempt that nobody ran
local function nothing_used()
    return '{"partial":false,"model_calls":0,"tokens_in":0,"tokens_out":0,"cost_nanos":0,"currency":null,'
        .. '"price_version":null,"model_called":null,"first_event_ms":null,"first_token_ms":null}'
end

-- add_row(keys, attempt, outcome, code, used, now)
-- Writes the row of an attempt that ends here, and counts it into the session's sums. A row that is there stays.
-- RETURNS the row
local function add_row(keys, attempt, outcome, code, used, now)
    local turn = redis.call('HMGET', keys.turn, 'run_id', 'session', 'tenant', 'project', 'user', 'model', 'created_at',
        'attempt_at')
    local function quoted(text)
        return text and text ~= '' and cjson.encode(text) or 'null'
    end
    local started = tonumber(turn[8] or now)
    local row = string.format('{"attempt":%d,"turn_created_at":%s,', attempt, turn[7]) .. string.sub(used, 2, -2)
        .. ',"run_id":"' .. turn[1] .. '","session_id":"' .. turn[2] .. '","tenant_id":"' .. turn[3]
        .. '","outcome":"' .. outcome .. '","code":' .. quoted(code) .. ',"project":' .. quoted(turn[4])
        .. ',"user":' .. quoted(turn[5]) .. ',"model":' .. quoted(turn[6])
        .. string.format(',"turn_index":%s,"started_at":%d,"ended_at":%d,"wall_ms":%d}', string.match(turn[1], '%d+$'),
                         started, now, now - started)
    if redis.call('HSETNX', keys.ledger, attempt, row) == 0 then
        return redis.call('HGET', keys.ledger, attempt)
    end
    add_to_sums(keys.session, 'usage:', row)
    return row
end
