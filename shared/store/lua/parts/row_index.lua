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

-- index_row(named, rows, id, row, keep_ms)
-- Notes a row that was added, if it names a user.
local function index_row(named, rows, id, row, keep_ms)
    if string.find(row, ',"user":null,', 1, true) then
        return
    end
    redis.call('ZADD', named, string.match(id, '%d+'), id)
    redis.call('PEXPIRE', named, keep_ms)
    if redis.call('ZCARD', named) % 100 == 0 then  -- the stream may have dropped the oldest of them
        local first = redis.call('XRANGE', rows, '-', '+', 'COUNT', 1)[1]
        redis.call('ZREMRANGEBYSCORE', named, '-inf', '(' .. string.match(first[1], '%d+'))
    end
end
