-- expire    KEYS: turn signals    ARGV: -    -> 0 it was suspended past its deadline, and is queued now | ms left | -1 no deadline | -2 not suspended
-- A timeout is stored like a signal: the first of the two wins.
-- include: time wake
local turn, signals = KEYS[1], KEYS[2]
local state = redis.call('HMGET', turn, 'status', 'awaiting', 'deadline')
if state[1] ~= 'suspended' then
    return -2
end
if not state[3] then
    return -1
end
local now = now_ms()
local left = tonumber(state[3]) - now
if left > 0 then
    return left
end
redis.call('HSETNX', signals, state[2], '{"timed_out":true,"emitted_at":' .. now .. '}')
wake(turn, now)
return 0
