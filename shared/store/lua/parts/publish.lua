-- The stream of ledger rows.

-- publish(keys, is_open, retention_ms, max_rows, rows)
-- Adds a turn's ledger rows, oldest first, to the stream and to the tenant's sums, each once. `rows` holds two items
-- for each row: the row itself, and JSON of what is read of it here, as texts. `billed` says how far this came: the
-- turn's creation and the attempt. It must be there for as long as the same rows may come again: it has no TTL while
-- `is_open`, and `enqueue` takes the TTL away when the turn is opened again.
local function publish(keys, is_open, retention_ms, max_rows, rows)
    if is_open and #rows == 0 then
        return
    end
    local billed = redis.call('GET', keys.billed)
    local created, attempt = string.match(billed or '0 0', '(%d+) (%d+)')
    created, attempt = tonumber(created), tonumber(attempt)
    local news = false
    for i = 1, #rows, 2 do
        local row = cjson.decode(rows[i + 1])
        local row_attempt, row_created = tonumber(row.attempt), tonumber(row.turn_created_at)
        if row_created > created or (row_created == created and row_attempt > attempt) then
            redis.call('XADD', keys.rows, 'MAXLEN', '~', max_rows, '*', 'row', rows[i])
            add_to_sums(keys.usage, '', row)
            created, attempt, news = row_created, row_attempt, true
        end
    end
    if news and is_open then
        redis.call('SET', keys.billed, string.format('%d %d', created, attempt))
    elseif news then
        redis.call('SET', keys.billed, string.format('%d %d', created, attempt), 'PX', retention_ms)
    elseif not is_open then
        redis.call('PEXPIRE', keys.billed, retention_ms)
    end
end
