-- fence(turn, lease, attempt, token, lease_ms)    -> nil | FENCED. Passing it also extends the lease.
-- A lease that lapsed but that nobody took comes back to its own attempt; one that was replaced does not.
local function fence(turn, lease, attempt, token, lease_ms)
    local state = redis.call('HMGET', turn, 'status', 'attempt')
    local holder = redis.call('GET', lease)
    if state[1] ~= 'running' or state[2] ~= tostring(attempt) or (holder and holder ~= token) then
        return redis.error_reply('FENCED the lease of this attempt was lost')
    end
    redis.call('SET', lease, token, 'PX', lease_ms)
    return nil
end
