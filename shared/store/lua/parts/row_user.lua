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
