-- suspend    KEYS: session turn lease events signals ledger    ARGV: attempt token lease_ms key timeout_ms used seq event    -> {stored signal} | {'', ledger row} suspended: lease and slot are given up | FENCED | GONE
-- Looks for the signal and suspends in one step, so that none can fall in between. Repeating it is harmless.
-- include: time log sums ledger fence
local session, turn, lease, events, signals, ledger = unpack(KEYS)
local attempt, token, lease_ms, key, timeout_ms, used, seq, event = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'awaiting', 'attempt', 'worker')
if state[1] == 'suspended' and state[2] == key and state[4] .. '#' .. state[3] == token then
    return {'', redis.call('HGET', ledger, attempt) or ''}
end
local refused = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
local stored = redis.call('HGET', signals, key)
if stored then
    return {stored}
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
return {'', add_row({session = session, turn = turn, ledger = ledger}, attempt, 'suspended', '', used, now)}
