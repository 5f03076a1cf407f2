-- Removes turns whose retention is over from the indexes of their session, with their Idempotency-Keys.
-- Safe to repeat: a turn that is there stays in the indexes.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   turn …     the hashes of the turns in question
-- ARGV
--   index …    the indexes of these turns, in the same order
-- RETURNS
--   how many turns it removed
-- include: keyed

local session, turns = unpack(KEYS, 1, 2)
local removed = 0
for i = 3, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        removed = removed + redis.call('ZREM', turns, ARGV[i - 2])
        forget_key(session, ARGV[i - 2])
    end
end
return removed
