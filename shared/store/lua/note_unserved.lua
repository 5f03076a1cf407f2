-- Notes that a turn waits for a worker that has hooks for its project, so that operators see it. The note counts only
-- for a while, because nobody removes it when the turn runs. A worker that looks at the turn again renews the note.
-- Safe to repeat: the note is written again.
-- KEYS
--   unserved          zset: run id -> until when the note counts
--   unserved_since    hash: run id -> since when it waits, a space, its project
-- ARGV
--   run_id
--   project           '' if it has none
--   waited_ms         how long it has waited
--   counts_ms         how long the note counts
-- RETURNS
--   1
-- include: time

local unserved, unserved_since = unpack(KEYS)
local run_id, project, waited_ms, counts_ms = unpack(ARGV)
local now = now_ms()
local old = redis.call('ZRANGEBYSCORE', unserved, '-inf', now, 'LIMIT', 0, 100)
if #old > 0 then
    redis.call('ZREM', unserved, unpack(old))
    redis.call('HDEL', unserved_since, unpack(old))
end
redis.call('ZADD', unserved, now + counts_ms, run_id)
redis.call('HSET', unserved_since, run_id, string.format('%d %s', now - waited_ms, project))
redis.call('PEXPIRE', unserved, counts_ms)
redis.call('PEXPIRE', unserved_since, counts_ms)
return 1
