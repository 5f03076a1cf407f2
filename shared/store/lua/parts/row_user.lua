-- The user in a ledger row. A row is JSON text, and cjson would round its large numbers, so the text itself is changed.

-- without_user(row)
-- Quotes inside a JSON string are escaped. So the two marks that are looked for can only be the names of fields.
-- RETURNS the row with null as its user
local function without_user(row)
    local _, before = string.find(row, ',"user":', 1, true)
    local after = before and string.find(row, ',"model":', before, true)
    if not after then
        return row
    end
    return string.sub(row, 1, before) .. 'null' .. string.sub(row, after)
end

-- names_nobody(row)
-- RETURNS whether the row names no user
local function names_nobody(row)
    return string.find(row, ',"user":null,', 1, true) ~= nil
end

-- names_user(row, tenant, session, user)
-- RETURNS whether the row is of this tenant and names a user. '' stands for any session, or any user.
local function names_user(row, tenant, session, user)
    local function has(name, value)
        return value == '' or string.find(row, ',"' .. name .. '":' .. cjson.encode(value) .. ',', 1, true)
    end
    return has('tenant_id', tenant) and has('session_id', session) and has('user', user)
        and not names_nobody(row)
end

-- unname(rows, entry)
-- Replaces an entry of the stream by one at its end that names no user.
-- RETURNS the id of the new one
local function unname(rows, entry)
    redis.call('XDEL', rows, entry[1])
    return redis.call('XADD', rows, '*', 'row', without_user(entry[2][2]))
end
