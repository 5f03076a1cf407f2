-- runs(turn, attempt, token)    -> true while the turn is this attempt's. Its worker counts, too: an erased turn that is
-- asked anew starts at attempt 1 again.
local function runs(turn, attempt, token)
    local state = redis.call('HMGET', turn, 'status', 'attempt', 'worker')
    return state[1] == 'running' and state[2] == tostring(attempt) and state[3] .. '#' .. attempt == token
end

-- fence(turn, lease, attempt, token, lease_ms)    -> nil | FENCED. Passing it also extends the lease.
-- A lease that lapsed but that nobody took comes back to its own attempt; one that was replaced does not.
local function fence(turn, lease, attempt, token, lease_ms)
    local holder = redis.call('GET', lease)
    if not runs(turn, attempt, token) or (holder and holder ~= token) then
        return redis.error_reply('FENCED the lease of this attempt was lost')
    end
    redis.call('SET', lease, token, 'PX', lease_ms)
    return nil
end
