-- A turn's ledger rows: what each attempt used, written when it ends. LedgerRow in shared/ledger.py reads them.
-- The use of an attempt is a table of texts. Its numbers are texts, too, because Lua's own numbers are doubles and
-- cjson writes 14 digits of them: both would round large amounts.

-- unknown_use(turn, attempt)
-- Nobody knows what a dead attempt used after its last checkpoint, so the row says that it is partial.
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
-- RETURNS a table: what a worker says that its attempt used, JSON of texts; '' says nothing
local function told_use(used)
    return used ~= '' and cjson.decode(used) or {partial = 'true'}
end

-- nothing_used()
-- RETURNS a table: the use of an attempt that nobody ran
local function nothing_used()
    return {partial = 'false', model_calls = '0', tokens_in = '0', tokens_out = '0', cost_nanos = '0'}
end

-- add_row(keys, attempt, outcome, code, use, now)
-- Writes the row of an attempt that ends here, and counts it into the session's sums. A row that is there stays. What
-- is absent, or an empty text, is null in the row.
-- RETURNS the row
local function add_row(keys, attempt, outcome, code, use, now)
    local turn = redis.call('HMGET', keys.turn, 'run_id', 'session', 'tenant', 'project', 'user', 'model', 'created_at',
        'attempt_at')
    local started_at = tonumber(turn[8] or now)
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
        .. ',"turn_index":' .. string.match(turn[1], '%d+$')
        .. ',"started_at":' .. started_at
        .. ',"ended_at":' .. now
        .. ',"wall_ms":' .. (now - started_at) .. '}'
    if redis.call('HSETNX', keys.ledger, attempt, row) == 0 then
        return redis.call('HGET', keys.ledger, attempt)
    end
    add_to_sums(keys.session, 'usage:', use)
    return row
end
