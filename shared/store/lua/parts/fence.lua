-- The fence: an attempt that lost its turn changes nothing.

-- runs(turn, attempt, token)
-- Compares the worker as well as the attempt, because an erased turn that is asked anew starts at attempt 1 again.
-- RETURNS true while the turn is this attempt's
local function runs(turn, attempt, token)
    local state = redis.call('HMGET', turn, 'status', 'attempt', 'worker')
    return state[1] == 'running' and state[2] == tostring(attempt) and state[3] .. '#' .. attempt == token
end

-- fence(turn, lease, attempt, token, lease_ms)
-- Lets the turn's own attempt pass, and extends its lease. A lease that lapsed comes back if nobody took the turn; a
-- lease that was replaced does not.
-- RETURNS nil, or the refusal: FENCED
local function fence(turn, lease, attempt, token, lease_ms)
    local holder = redis.call('GET', lease)
    if not runs(turn, attempt, token) or (holder and holder ~= token) then
        return redis.error_reply('FENCED the lease of this attempt was lost')
    end
    redis.call('SET', lease, token, 'PX', lease_ms)
    return nil
end
