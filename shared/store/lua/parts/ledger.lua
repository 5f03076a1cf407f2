-- A turn's ledger rows: what each attempt used, written when it ends. LedgerRow in shared/ledger.py reads them.
-- The use of an attempt is a table of strings. Its numbers are strings, too: Lua's own numbers are doubles, and cjson
-- writes only 14 digits of them, so large amounts would be rounded.

-- unknown_use(turn, attempt)
-- Nobody knows what a dead attempt used after its last checkpoint, so its row is marked as partial.
-- RETURNS a table: what the attempt's checkpoints say that it used
local function unknown_use(turn, attempt)
    local known = redis.call('HGET', turn, 'used')
    local use = known and known ~= '' and cjson.decode(known) or {}
    if use.attempt ~= tostring(attempt) then
        use = {}
    end
    use.partial = 'true'
    return use
end

-- told_use(used)
-- `used` is what the worker reports: a JSON object of strings, or '' if it does not know.
-- RETURNS a table: the use of the attempt
local function told_use(used)
    return used ~= '' and cjson.decode(used) or {partial = 'true'}
end

-- nothing_used()
-- RETURNS a table: the use of an attempt that nobody ran
local function nothing_used()
    return {partial = 'false', model_calls = '0', tokens_in = '0', tokens_out = '0', cached_tokens = '0',
            reasoning_tokens = '0', cost_nanos = '0'}
end

-- add_row(keys, attempt, outcome, code, use, now)
-- Writes the row of an attempt that ends here, and adds it to the session's sums. A row that exists already stays as it
-- is. Values that are absent or empty are null in the row. parts/publish.lua reads its first
-- fields, up to the currency, in this order.
-- RETURNS the row
local function add_row(keys, attempt, outcome, code, use, now)
    local turn = redis.call('HMGET', keys.turn, 'run_id', 'session', 'tenant', 'project', 'user', 'model', 'created_at',
        'attempt_at')
    local started_at = turn[8] or now
    local function quoted(text)
        return text and text ~= '' and cjson.encode(text) or 'null'
    end
    local row = '{"attempt":' .. attempt
        .. ',"turn_created_at":' .. turn[7]
        .. ',"partial":' .. use.partial
        .. ',"model_calls":' .. (use.model_calls or 'null')
        .. ',"tokens_in":' .. (use.tokens_in or 'null')
        .. ',"tokens_out":' .. (use.tokens_out or 'null')
        .. ',"cost_nanos":' .. (use.cost_nanos or 'null')
        .. ',"currency":' .. quoted(use.currency)
        .. ',"price_version":' .. quoted(use.price_version)
        .. ',"model_called":' .. quoted(use.model_called)
        .. ',"cached_tokens":' .. (use.cached_tokens or 'null')
        .. ',"reasoning_tokens":' .. (use.reasoning_tokens or 'null')
        .. ',"finish_reason":' .. quoted(use.finish_reason)
        .. ',"first_event_ms":' .. (use.first_event_ms or 'null')
        .. ',"first_token_ms":' .. (use.first_token_ms or 'null')
        .. ',"run_id":"' .. turn[1]
        .. '","session_id":"' .. turn[2]
        .. '","tenant_id":"' .. turn[3]
        .. '","outcome":"' .. outcome
        .. '","code":' .. quoted(code)
        .. ',"project":' .. quoted(turn[4])
        .. ',"user":' .. quoted(turn[5])
        .. ',"model":' .. quoted(turn[6])
        .. ',"turn_index":' .. string.match(turn[1], '^.*:(%d+)$')
        .. string.format(',"started_at":%d,"ended_at":%d,"wall_ms":%d}', started_at, now, now - started_at)
    if redis.call('HSETNX', keys.ledger, attempt, row) == 0 then
        return redis.call('HGET', keys.ledger, attempt)
    end
    add_to_sums(keys.session, 'usage:', use)
    return row
end
