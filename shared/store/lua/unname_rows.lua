-- Looks at a page of the published ledger rows, and takes the user out of those of one session, or of one user. An
-- entry of a stream cannot be changed, so such a row is deleted and added again at the end.
-- Safe to repeat: a row without a user stays as it is.
-- KEYS
--   rows       stream: the published ledger rows
-- ARGV
--   tenant
--   session    '': of any session
--   user       '': of any user
--   after      id of the last entry that was looked at; '' for the first page
--   until_id   id of the last entry to look at: a row that was added again is not looked at twice
--   page       how many entries to look at
-- RETURNS {after, changed}
--   after      for the next page; '' if this was the last one
--   changed    how many rows were changed
-- include: row_user

local rows = unpack(KEYS)
local tenant, session, user, after, until_id, page = unpack(ARGV)
local wanted = {',"tenant_id":' .. cjson.encode(tenant) .. ','}
if session ~= '' then
    wanted[#wanted + 1] = ',"session_id":' .. cjson.encode(session) .. ','
end
if user ~= '' then
    wanted[#wanted + 1] = ',"user":' .. cjson.encode(user) .. ','
end
local changed, last = 0, ''
local entries = redis.call('XRANGE', rows, after == '' and '-' or '(' .. after, until_id, 'COUNT', page)
for _, entry in ipairs(entries) do
    local row = entry[2][2]
    last = entry[1]
    local is_wanted = true
    for _, text in ipairs(wanted) do
        is_wanted = is_wanted and string.find(row, text, 1, true)
    end
    if is_wanted and not string.find(row, ',"user":null,', 1, true) then
        redis.call('XDEL', rows, entry[1])
        redis.call('XADD', rows, '*', 'row', without_user(row))
        changed = changed + 1
    end
end
return {#entries == tonumber(page) and last or '', changed}
