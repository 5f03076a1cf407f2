-- The stream of ledger rows.

-- publish(keys, is_open, retention_ms, max_rows, rows)
-- Puts a turn's ledger rows, oldest first, on the stream and into the tenant's sums, each once. `billed` says how far
-- this came: the turn's creation and the attempt. It is kept as long as the same rows may come again.
local function publish(keys, is_open, retention_ms, max_rows, rows)
    local created, attempt = string.match(redis.call('GET', keys.billed) or '0 0', '(%d+) (%d+)')
    created, attempt = tonumber(created), tonumber(attempt)
    local news = false
    for _, row in ipairs(rows) do
        local a, c = string.match(row, '^{"attempt":(%d+),"turn_created_at":(%d+),')
        a, c = tonumber(a), tonumber(c)
        if c > created or (c == created and a > attempt) then
            redis.call('XADD', keys.rows, 'MAXLEN', '~', max_rows, '*', 'row', row)
            add_to_sums(keys.usage, '', row)
            created, attempt, news = c, a, true
        end
    end
    if news and is_open then
        redis.call('SET', keys.billed, string.format('%d %d', created, attempt))
    elseif news then
        redis.call('SET', keys.billed, string.format('%d %d', created, attempt), 'PX', retention_ms)
    elseif is_open then
        redis.call('PERSIST', keys.billed)
    else
        redis.call('PEXPIRE', keys.billed, retention_ms)
    end
end
