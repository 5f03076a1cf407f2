-- read_row(row)    -> attempt, creation of its turn, partial, model calls, tokens in, tokens out, cost, currency. A row starts with them.
local function read_row(row)
    return string.match(row, '^{"attempt":(%d+),"turn_created_at":(%d+),"partial":(%l+),"model_calls":(%w+),"tokens_in":(%w+),'
        .. '"tokens_out":(%w+),"cost_nanos":(%w+),"currency":"?(%u*)')
end

-- add_to_sums(key, prefix, row)    counts a row into a hash of sums. Rows that do not know a number are counted, too.
local function add_to_sums(key, prefix, row)
    local function add(field, by)
        if by ~= '0' and by ~= 'null' then
            redis.pcall('HINCRBY', key, prefix .. field, by)  -- a sum that overflows must not stop a turn
        end
    end
    local _, _, partial, calls, tokens_in, tokens_out, cost, currency = read_row(row)
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
