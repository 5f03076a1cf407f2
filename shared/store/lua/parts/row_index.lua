-- The index of the published ledger rows that name a user: for each session, the ids of its rows. An erasure finds them
-- there, and need not look at the rows of everybody else.

-- not_indexed(index, rows)
-- `index` holds the `last` row that a script with an index has added. If the stream ends with another one, a worker of
-- an older version has added it.
-- RETURNS the id of the last row that may be in no index
local function not_indexed(index, rows)
    local entry = redis.call('XREVRANGE', rows, '+', '-', 'COUNT', 1)[1]
    local last = entry and entry[1] or '0-0'
    local known, known_until = unpack(redis.call('HMGET', index, 'last', 'until'))
    if last == known then
        return known_until
    end
    redis.call('HSET', index, 'last', last, 'until', last)
    return last
end

-- note_before_row(index, rows, row)
-- Call it before a row is added. While no row has named a user, there is no index, and nothing to do.
-- RETURNS whether index_row has to be called with the row
local function note_before_row(index, rows, row)
    if names_nobody(row) and redis.call('EXISTS', index) == 0 then
        return false
    end
    not_indexed(index, rows)
    return true
end

-- index_row(keys, id, row, keep_ms)
-- Notes that a row was added. If it names a user, it goes into the index of its session.
local function index_row(keys, id, row, keep_ms)
    redis.call('HSET', keys.row_index, 'last', id)
    if names_nobody(row) then
        return
    end
    local ms = string.match(id, '%d+')
    redis.call('ZADD', keys.named_rows, ms, id)
    redis.call('PEXPIRE', keys.named_rows, keep_ms)
    if string.sub(ms, -2) == '00' then  -- now and then: the stream may have dropped the oldest of them
        local first = redis.call('XRANGE', keys.rows, '-', '+', 'COUNT', 1)[1]
        redis.call('ZREMRANGEBYSCORE', keys.named_rows, '-inf', '(' .. string.match(first[1], '%d+'))
    end
end
