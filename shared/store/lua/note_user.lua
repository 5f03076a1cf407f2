-- Notes that a user has asked for a turn in a session.
-- Safe to repeat: the later time counts.
-- KEYS
--   user_sessions    zset: session of a user -> when the user last asked for a turn there
-- ARGV
--   session
--   keep_ms          how long the note is kept
-- RETURNS
--   1
-- include: time

local user_sessions = unpack(KEYS)
local session, keep_ms = unpack(ARGV)
local now = now_ms()
redis.call('ZADD', user_sessions, now, session)
redis.call('ZREMRANGEBYSCORE', user_sessions, '-inf', now - keep_ms)
redis.call('PEXPIRE', user_sessions, keep_ms)
return 1
