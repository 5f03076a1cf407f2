-- The stream of ledger rows.

local COUNTED = '^{"attempt":(%d+),"turn_created_at":(%d+),"partial":(%a+),"model_calls":(%w+),"tokens_in":(%w+),' ..
    '"tokens_out":(%w+),"cost_nanos":(%w+),"currency":"?(%w+)'

-- counted(row)
-- A row is JSON text, and cjson would round its large numbers, so the text itself is read. Quotes inside a JSON string
-- are escaped, so no text in it can look like the name of a field.
-- RETURNS what of a row is counted, as texts: a table with `attempt`, `turn_created_at` and the fields of a use; it is
-- empty if this is no row
local function counted(row)
    local use = {}
    use.attempt, use.turn_created_at, use.partial, use.model_calls, use.tokens_in, use.tokens_out, use.cost_nanos,
        use.currency = string.match(row, COUNTED)
    local _, before = string.find(row, ',"cached_tokens":', 1, true)  -- a row of an older version has no such field
    if before then
        use.cached_tokens, use.reasoning_tokens = string.match(row, '^(%w+),"reasoning_tokens":(%w+)', before + 1)
    end
    for name, value in pairs(use) do
        if value == 'null' then
            use[name] = nil
        end
    end
    return use
end

-- publish(keys, is_open, retention_ms, max_rows, index_ms, rows)
-- Adds a turn's ledger rows, oldest first, to the stream and to the tenant's sums, each once. `billed` says how far
-- this came: the turn's creation and the attempt. It must be there for as long as the same rows may come again: it has
-- no TTL while `is_open`, and `enqueue` takes the TTL away when the turn is opened again. ` erased:<ms>` behind these
-- two means that the turn which was created then was erased: its rows do not name their user any more.
-- RETURNS how many rows the tenant's sums hold, if there was a new one, else nil
local function publish(keys, is_open, retention_ms, max_rows, index_ms, rows)
    if is_open and #rows == 0 then
        return nil
    end
    local billed = redis.call('GET', keys.billed)
    local created, attempt, mark = string.match(billed or '0 0', '(%d+) (%d+)(.*)')
    created, attempt = tonumber(created), tonumber(attempt)
    local erased = tonumber(string.match(mark, '%d+') or '-1')
    local held
    for _, row in ipairs(rows) do
        local use = counted(row)
        local row_attempt, row_created = tonumber(use.attempt or 0), tonumber(use.turn_created_at or 0)
        if row_created > created or (row_created == created and row_attempt > attempt) then
            local shown = row_created <= erased and without_user(row) or row
            local is_indexed = note_before_row(keys.row_index, keys.rows, shown)
            local id = redis.call('XADD', keys.rows, 'MAXLEN', '~', max_rows, '*', 'row', shown)
            if is_indexed then
                index_row(keys, id, shown, index_ms)
            end
            held = add_to_sums(keys.usage, '', use)
            created, attempt = row_created, row_attempt
        end
    end
    if held and is_open then
        redis.call('SET', keys.billed, string.format('%d %d%s', created, attempt, mark))
    elseif held then
        redis.call('SET', keys.billed, string.format('%d %d%s', created, attempt, mark), 'PX', retention_ms)
    elseif not is_open then
        redis.call('PEXPIRE', keys.billed, retention_ms)
    end
    return held
end
