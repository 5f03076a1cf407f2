-- Revokes tokens, and tells the API processes.
-- Safe to repeat: a later revocation of the same counts besides the first one.
-- KEYS
--   revoked       zset: <revocation>@<ms> -> until when it counts, in ms
-- ARGV
--   channel       pub/sub channel on which API processes hear of it
--   revocation    what is revoked
--   keep_ms       how long it counts
-- RETURNS
--   when it was revoked, in ms
-- include: time

local revoked = unpack(KEYS)
local channel, revocation, keep_ms = unpack(ARGV)
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', revoked, '-inf', now)
redis.call('ZADD', revoked, now + keep_ms, revocation .. '@' .. string.format('%d', now))
if redis.call('PTTL', revoked) < tonumber(keep_ms) then
    redis.call('PEXPIRE', revoked, keep_ms)
end
redis.call('PUBLISH', channel, 'revoked')
return now
