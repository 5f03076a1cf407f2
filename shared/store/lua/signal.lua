-- signal    KEYS: turn signals    ARGV: key payload    -> {1 it is the first | 0, the stored one, 1 enqueue the turn | 0} | NOT_FOUND | TURN_ENDED
-- The first write of a key wins, also before the turn waits for it.
-- include: time wake
local turn, signals = KEYS[1], KEYS[2]
local key, payload = ARGV[1], ARGV[2]
local state = redis.call('HMGET', turn, 'status', 'awaiting')
if not state[1] then
    return redis.error_reply('NOT_FOUND no such turn')
end
local stored = redis.call('HGET', signals, key)
if stored then  -- the turn may be queued since, but its job not enqueued: the caller may have died
    return {0, stored, state[1] == 'queued' and 1 or 0}
end
if state[1] == 'completed' or state[1] == 'failed' or state[1] == 'cancelled' then
    return redis.error_reply('TURN_ENDED this turn has ended')
end
local now = now_ms()
stored = '{"payload":' .. payload .. ',"emitted_at":' .. now .. '}'
redis.call('HSET', signals, key, stored)
if state[1] == 'suspended' and state[2] == key then
    wake(turn, now)
    return {1, stored, 1}
end
return {1, stored, 0}
