-- The fence: an attempt that lost its turn changes nothing.

-- runs(turn, attempt, token)
-- Compares the worker as well as the attempt, because an erased turn that is asked anew starts at attempt 1 again.
-- RETURNS true while the turn is this attempt's; `stands` and `used` of the turn, see parts/progress.lua; and its
-- `checkpoints`, see parts/behind.lua
local function runs(turn, attempt, token)
    local state = redis.call('HMGET', turn, 'status', 'attempt', 'worker', 'stands', 'used', 'checkpoints')
    local mine = state[1] == 'running' and state[2] == tostring(attempt) and state[3] .. '#' .. attempt == token
    return mine, state[4], state[5], state[6]
end

-- fence(turn, lease, attempt, token, lease_ms)
-- Lets the attempt that owns the turn pass, and extends its lease. A lease that lapsed comes back if nobody took the
-- turn. A lease that another attempt has replaced does not come back.
-- RETURNS nil, or the refusal: FENCED; and the other values that `runs` returns
local function fence(turn, lease, attempt, token, lease_ms)
    local holder = redis.call('GET', lease)
    local mine, stands, used, checkpoints = runs(turn, attempt, token)
    if not mine or (holder and holder ~= token) then
        return redis.error_reply('FENCED the lease of this attempt was lost')
    end
    redis.call('SET', lease, token, 'PX', lease_ms)
    return nil, stands, used, checkpoints
end
