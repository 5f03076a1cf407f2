-- suspend    KEYS: turn lease events signals    ARGV: attempt token lease_ms key timeout_ms seq event    -> stored signal | '' suspended: lease and slot are given up | FENCED | GONE
-- Looks for the signal and suspends in one step, so that none can fall in between. Repeating it is harmless.
-- include: time log fence
local turn, lease, events, signals = unpack(KEYS)
local attempt, token, lease_ms, key, timeout_ms, seq, event = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'attempt', 'awaiting')
if state[1] == 'suspended' and state[2] == attempt and state[3] == key then
    return ''
end
local refused = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
local stored = redis.call('HGET', signals, key)
if stored then
    return stored
end
refused = add_events(events, tonumber(attempt), tonumber(seq), {event})
if refused then
    return refused
end
local now = now_ms()
redis.call('HSET', turn, 'status', 'suspended', 'awaiting', key, 'stands', attempt .. '-' .. seq, 'updated_at', now)
if timeout_ms ~= '' then
    redis.call('HSET', turn, 'deadline', now + timeout_ms)
end
redis.call('DEL', lease)
return ''
