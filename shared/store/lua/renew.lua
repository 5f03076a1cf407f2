-- renew    KEYS: turn lease    ARGV: attempt token lease_ms    -> 1 | 2 renewed, but somebody wants it cancelled | FENCED
-- include: fence
local refused = fence(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return refused or (redis.call('HEXISTS', KEYS[1], 'cancel_requested') == 1 and 2 or 1)
