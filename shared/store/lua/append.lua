-- append    KEYS: turn lease events    ARGV: attempt token seq event …    -> 1 | FENCED | GONE    Repeating is harmless.
-- The ids are a fence of their own: Redis refuses those of an older attempt. Who has the lease need not be looked up.
-- include: log fence
local attempt, token, seq = unpack(ARGV, 1, 3)
if redis.call('GET', KEYS[2]) ~= token and not runs(KEYS[1], attempt, token) then
    return redis.error_reply('FENCED the turn is not this attempt\'s any more')
end
local refused = add_events(KEYS[3], tonumber(attempt), tonumber(seq), {unpack(ARGV, 4)})
return refused or 1
