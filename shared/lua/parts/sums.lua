-- add_to_sums(key, prefix, row)    counts a ledger row into a hash of sums; what the row does not know is counted as rows, too
-- A quote inside a JSON string has a backslash before it, so no client's text can look like one of these names.
local function add_to_sums(key, prefix, row)
    local function add(field, by)
        if by ~= '0' then
            redis.pcall('HINCRBY', key, prefix .. field, by)  -- a sum that overflows must not stop a turn
        end
    end
    local calls, tokens_in = string.match(row, '"model_calls":(%d+)'), string.match(row, '"tokens_in":(%d+)')
    local tokens_out, cost = string.match(row, '"tokens_out":(%d+)'), string.match(row, '"cost_nanos":(%d+)')
    local partial = string.find(row, '"partial":true', 1, true)
    add('rows', '1')
    add('model_calls', calls or '0')
    add('tokens_in', tokens_in or '0')
    add('tokens_out', tokens_out or '0')
    if cost and cost ~= '0' then
        add('cost_nanos:' .. string.match(row, '"currency":"(%u+)"'), cost)
    end
    if partial or not (tokens_in and tokens_out) then
        add('rows_tokens_unknown', '1')
    end
    if partial or not cost then
        add('rows_cost_unknown', '1')
    end
end
