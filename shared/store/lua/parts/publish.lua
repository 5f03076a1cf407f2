-- The stream of ledger rows.

local COUNTED = '^{"attempt":(%d+),"turn_created_at":(%d+),"partial":(%a+),"model_calls":(%w+),"tokens_in":(%w+),' ..
    '"tokens_out":(%w+),"cost_nanos":(%w+),"currency":"?(%w+)'

-- counted(row)
-- A row is JSON text, and cjson would round its large numbers, so the text itself is read. Quotes inside a JSON string
-- are escaped, so no text in it can look like the name of a field.
-- RETURNS what of a row is counted, as texts: a table with `attempt`, `turn_created_at` and the fields of a use; it is
-- empty if this is no row
local function counted(row)
    local attempt, turn_created_at, partial, model_calls, tokens_in, tokens_out, cost_nanos, currency =
        string.match(row, COUNTED)
    local cached_tokens, reasoning_tokens
    local _, before = string.find(row, ',"cached_tokens":', 1, true)  -- a row of an older version has no such field
    if before then
        cached_tokens, reasoning_tokens = string.match(row, '^(%w+),"reasoning_tokens":(%w+)', before + 1)
    end
    local use = {attempt = attempt, turn_created_at = turn_created_at, partial = partial, model_calls = model_calls,
                 tokens_in = tokens_in, tokens_out = tokens_out, cost_nanos = cost_nanos, currency = currency,
                 cached_tokens = cached_tokens, reasoning_tokens = reasoning_tokens}
    for name, value in pairs(use) do
        if value == 'null' then
            use[name] = nil
        end
    end
    return use
end

-- publish(keys, billed, is_open, retention_ms, max_rows, index_ms, rows)
-- Adds a turn's ledger rows, oldest first, to the stream and to the tenant's sums, each once. `billed`, the value of
-- its key, says how far this came: the turn's creation and the attempt. The key must be there for as long as the same
-- rows may come again: it has no TTL while `is_open`, and `enqueue` takes the TTL away when the turn is opened again.
-- ` erased:<ms>` behind these two means that the turn which was created then was erased: its rows do not name their
-- user any more.
-- RETURNS how many rows the tenant's sums hold, if there was a new one, else nil
local function publish(keys, billed, is_open, retention_ms, max_rows, index_ms, rows)
    if is_open and #rows == 0 then
        return nil
    end
    local created, attempt, mark, erased, held = 0, 0, '', -1, nil
    if billed then
        created, attempt, mark = string.match(billed, '(%d+) (%d+)(.*)')
        created, attempt, erased = tonumber(created), tonumber(attempt), tonumber(string.match(mark, '%d+') or '-1')
    end
    for _, row in ipairs(rows) do
        local use = counted(row)
        local row_attempt, row_created = tonumber(use.attempt or 0), tonumber(use.turn_created_at or 0)
        if row_created > created or (row_created == created and row_attempt > attempt) then
            if row_created <= erased then
                -- include: row_user
                row = without_user(row)
            end
            local is_indexed = note_before_row(keys.row_index, keys.rows, row)
            local id = redis.call('XADD', keys.rows, 'MAXLEN', '~', max_rows, '*', 'row', row)
            if is_indexed then
                -- include: row_index
                index_row(keys, id, row, index_ms)
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
