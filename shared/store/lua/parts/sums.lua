-- Sums of ledger rows.

-- add_to_sums(key, prefix, row)
-- Counts a row into a hash of sums. Rows that do not know a number are counted in fields of their own.
-- A row starts with the numbers, so what a client called itself cannot look like one.
local function add_to_sums(key, prefix, row)
    local partial, calls, tokens_in, tokens_out, cost, currency = string.match(row,
        '"partial":(%l+),"model_calls":(%w+),'
        .. '"tokens_in":(%w+),"tokens_out":(%w+),"cost_nanos":(%w+),"currency":"?(%u*)')
    local function add(field, by)
        if by ~= '0' and by ~= 'null' then
            redis.pcall('HINCRBY', key, prefix .. field, by)  -- a sum that overflows must not stop a turn
        end
    end
    add('rows', '1')
    add('model_calls', calls)
    add('tokens_in', tokens_in)
    add('tokens_out', tokens_out)
    add('cost_nanos:' .. currency, cost)
    if partial == 'true' or tokens_in == 'null' or tokens_out == 'null' then
        add('rows_tokens_unknown', '1')
    end
    if partial == 'true' or cost == 'null' then
        add('rows_cost_unknown', '1')
    end
end
