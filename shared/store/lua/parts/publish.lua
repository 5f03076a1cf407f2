-- publish(keys, is_open, retention_ms, max_rows, rows)    puts a turn's ledger rows, oldest first, on the stream: each once
-- The mark says how far that came: the turn's creation and the attempt. It lives as long as the rows may come again.
local function publish(keys, is_open, retention_ms, max_rows, rows)
    local created, attempt = string.match(redis.call('GET', keys.billed) or '0 0', '(%d+) (%d+)')
    created, attempt = tonumber(created), tonumber(attempt)
    local news = false
    for _, row in ipairs(rows) do
        local a, c = string.match(row, '^{"attempt":(%d+),"turn_created_at":(%d+),')
        a, c = tonumber(a), tonumber(c)
        if c > created or (c == created and a > attempt) then
            redis.call('XADD', keys.ledger, 'MAXLEN', '~', max_rows, '*', 'row', row)
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
