-- checkpoint    KEYS: turn lease steps    ARGV: attempt token lease_ms position record    -> 1 | FENCED    Also extends the lease.
-- include: fence
local attempt, token, lease_ms, position, record = unpack(ARGV)
local refused = fence(KEYS[1], KEYS[2], attempt, token, lease_ms)
if refused then
    return refused
end
redis.call('HSET', KEYS[3], position, record)
return 1
