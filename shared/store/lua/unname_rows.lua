-- Looks at a page of the published ledger rows, and takes the user out of those of one session, or of one user. An
-- entry of a stream cannot be changed, so such a row is deleted and added again at the end.
-- Safe to repeat: a row without a user stays as it is.
-- KEYS
--   rows         stream: the published ledger rows
--   row_index    hash: how much of the stream is in the indexes of sessions; see parts/row_index.lua
-- ARGV
--   tenant
--   session      '': of any session
--   user         '': of any user
--   after        id of the last entry that was looked at
--   until_id     id of the last entry to look at; '': the last one that may be in no index
--   page         how many entries to look at
--   index_ms     how long indexes, and the lists of users' sessions, are kept: older rows may be in none
-- RETURNS {after, changed, until_id}
--   after        for the next page; '' if this was the last one
--   changed      how many rows were changed
--   until_id     for the next page
-- include: time row_user row_index

local rows, row_index = unpack(KEYS)
local tenant, session, user, after, until_id, page, index_ms = unpack(ARGV)
local not_in_index = not_indexed(row_index, rows)
if until_id == '' then
    local old = now_ms() - index_ms
    until_id = tonumber(string.match(not_in_index, '%d+')) < old and string.format('%d', old) or not_in_index
end
local changed, last = 0, ''
local entries = redis.call('XRANGE', rows, '(' .. after, until_id, 'COUNT', page)
for _, entry in ipairs(entries) do
    last = entry[1]
    if names_user(entry[2][2], tenant, session, user) then
        redis.call('HSET', row_index, 'last', unname(rows, entry))
        changed = changed + 1
    end
end
return {#entries == tonumber(page) and last or '', changed, until_id}
