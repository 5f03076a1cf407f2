-- Sums of ledger rows.

-- add_to_sums(key, prefix, use)
-- Adds a row's use, a table of strings, to a hash of sums. A number that is absent is unknown; fields of their own
-- count the rows with such numbers.
-- RETURNS how many rows are in the sums now
local function add_to_sums(key, prefix, use)
    local function add(field, by)
        if by and by ~= '0' then
            return redis.pcall('HINCRBY', key, prefix .. field, by)  -- a sum that overflows must not stop a turn
        end
    end
    local rows = add('rows', '1')
    add('model_calls', use.model_calls)
    add('tokens_in', use.tokens_in)
    add('tokens_out', use.tokens_out)
    add('cached_tokens', use.cached_tokens)
    add('reasoning_tokens', use.reasoning_tokens)
    add('cost_nanos:' .. (use.currency or ''), use.cost_nanos)
    if use.partial == 'true' or not (use.tokens_in and use.tokens_out) then
        add('rows_tokens_unknown', '1')
    end
    if use.partial == 'true' or not use.cost_nanos then
        add('rows_cost_unknown', '1')
    end
    return rows
end
