-- The fence: an attempt that lost its turn changes nothing.

-- runs(turn, attempt, token)
-- Compares the worker as well as the attempt, because an erased turn that is asked anew starts at attempt 1 again.
-- RETURNS true while the turn is this attempt's; and `stands` and `used` of the turn, see parts/progress.lua
local function runs(turn, attempt, token)
    local state = redis.call('HMGET', turn, 'status', 'attempt', 'worker', 'stands', 'used')
    local mine = state[1] == 'running' and state[2] == tostring(attempt) and state[3] .. '#' .. attempt == token
    return mine, state[4], state[5]
end

-- fence(turn, lease, attempt, token, lease_ms)
-- Lets the turn's own attempt pass, and extends its lease. A lease that lapsed comes back if nobody took the turn; a
-- lease that was replaced does not.
-- RETURNS nil, or the refusal: FENCED; and `stands` and `used` of the turn, see parts/progress.lua
local function fence(turn, lease, attempt, token, lease_ms)
    local holder = redis.call('GET', lease)
    local mine, stands, used = runs(turn, attempt, token)
    if not mine or (holder and holder ~= token) then
        return redis.error_reply('FENCED the lease of this attempt was lost')
    end
    redis.call('SET', lease, token, 'PX', lease_ms)
    return nil, stands, used
end
