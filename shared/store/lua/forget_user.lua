-- Takes sessions that are erased off the list of a user's sessions.
-- Safe to repeat: a session that was used again since stays on the list.
-- KEYS
--   user_sessions    zset: session of a user -> when the user last asked for a turn there
-- ARGV
--   before_ms        when the erasure was asked for
--   session …
-- RETURNS
--   1

local user_sessions = unpack(KEYS)
local before_ms = unpack(ARGV, 1, 1)
for i = 2, #ARGV do
    if tonumber(redis.call('ZSCORE', user_sessions, ARGV[i]) or 'inf') <= tonumber(before_ms) then
        redis.call('ZREM', user_sessions, ARGV[i])
    end
end
return 1
