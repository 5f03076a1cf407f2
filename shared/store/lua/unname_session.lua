-- Takes the user out of a page of the published ledger rows of a session, which its index names.
-- Safe to repeat: a row without a user is not in the index any more.
-- KEYS
--   rows          stream: the published ledger rows
--   row_index     hash: how much of the stream is in the indexes of sessions; see parts/row_index.lua
--   named_rows    zset: id of a published row of the session that names a user -> when it was added
-- ARGV
--   tenant
--   session
--   user          '': of any user
--   skip          how many rows of the index were looked at and stay, because they name other users
--   page          how many rows to look at
-- RETURNS {skip, changed}
--   skip          for the next page; -1 if this was the last one
--   changed       how many rows were changed
-- include: row_user row_index

local rows, row_index, named_rows = unpack(KEYS)
local tenant, session, user, skip, page = unpack(ARGV)
skip = tonumber(skip)
local ids = redis.call('ZRANGE', named_rows, skip, skip + page - 1)
local changed = 0
for _, id in ipairs(ids) do
    local entry = redis.call('XRANGE', rows, id, id)[1]
    if not entry then  -- the stream has dropped it
        redis.call('ZREM', named_rows, id)
    elseif names_user(entry[2][2], tenant, session, user) then
        not_indexed(row_index, rows)
        redis.call('HSET', row_index, 'last', unname(rows, entry))
        redis.call('ZREM', named_rows, id)
        changed = changed + 1
    else
        skip = skip + 1
    end
end
return {#ids == tonumber(page) and skip or -1, changed}
