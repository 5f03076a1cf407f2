-- Queues a suspended turn whose deadline has passed. The timeout is stored under the key of the signal that did not
-- come, so the first of the two wins.
-- Safe to repeat: a turn that is not suspended stays as it is.
-- KEYS
--   turn       hash of the turn
--   signals    hash: key -> signal
-- RETURNS
--   0          its deadline had passed, and it is queued now
--   n > 0      ms until its deadline
--   -1         it waits without a deadline
--   -2         it is not suspended
-- include: time wake

local turn, signals = unpack(KEYS)
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
