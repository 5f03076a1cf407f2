-- The stream of ledger rows.

-- publish(keys, is_open, retention_ms, max_rows, index_ms, rows)
-- Adds a turn's ledger rows, oldest first, to the stream and to the tenant's sums, each once. `rows` holds two items
-- for each row: the row itself, and JSON of what is read of it here, as texts. `billed` says how far this came: the
-- turn's creation and the attempt. It must be there for as long as the same rows may come again: it has no TTL while
-- `is_open`, and `enqueue` takes the TTL away when the turn is opened again. ` erased:<ms>` behind these two means that
-- the turn which was created then was erased: its rows do not name their user any more.
-- RETURNS true if there was a new row
local function publish(keys, is_open, retention_ms, max_rows, index_ms, rows)
    if is_open and #rows == 0 then
        return false
    end
    local billed = redis.call('GET', keys.billed)
    local created, attempt, mark = string.match(billed or '0 0', '(%d+) (%d+)(.*)')
    created, attempt = tonumber(created), tonumber(attempt)
    local erased = tonumber(string.match(mark, '%d+') or '-1')
    local news = false
    for i = 1, #rows, 2 do
        local row = cjson.decode(rows[i + 1])
        local row_attempt, row_created = tonumber(row.attempt), tonumber(row.turn_created_at)
        if row_created > created or (row_created == created and row_attempt > attempt) then
            local shown = row_created <= erased and without_user(rows[i]) or rows[i]
            local is_indexed = note_before_row(keys.row_index, keys.rows, shown)
            local id = redis.call('XADD', keys.rows, 'MAXLEN', '~', max_rows, '*', 'row', shown)
            if is_indexed then
                index_row(keys, id, shown, index_ms)
            end
            add_to_sums(keys.usage, '', row)
            created, attempt, news = row_created, row_attempt, true
        end
    end
    if news and is_open then
        redis.call('SET', keys.billed, string.format('%d %d%s', created, attempt, mark))
    elseif news then
        redis.call('SET', keys.billed, string.format('%d %d%s', created, attempt, mark), 'PX', retention_ms)
    elseif not is_open then
        redis.call('PEXPIRE', keys.billed, retention_ms)
    end
    return news
end
