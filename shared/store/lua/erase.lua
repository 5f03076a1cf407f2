-- Erases a page of a session's turns, and the session itself with its last turn. The worker of each turn is told to
-- stop, and the turn's readers are told that it is gone. Whatever the worker still writes is refused, because there is
-- nothing left to write to.
-- Safe to repeat: keys that are gone stay gone.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   numbering  string: the next index, also after the session's hash has expired
--   suspended  zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines      zset: pool and tenant -> how many of these turns they have
--   name …     the six keys of each turn
-- ARGV
--   channel_prefix    of the channels of this deployment
--   cancels           pub/sub channel on which workers hear of cancels
--   user              whose session it must be; '' if that does not matter
--   count             number of turns
--   index …           the turns' indexes
--   run_id …          the turns' run ids, in the same order
-- RETURNS
--   how many turns of the session are left; -1: it is another user's, and nothing was erased
-- include: owned_by suspension

local session, turns, open, numbering, suspended, lines = unpack(KEYS, 1, 6)
local channel_prefix, cancels, user, count = unpack(ARGV, 1, 4)
count = tonumber(count)
if is_foreign(session, user) then
    return -1
end
for i = 1, count do
    local turn = KEYS[6 * i + 1]
    if redis.call('HGET', turn, 'status') == 'suspended' then
        unlist_suspended(suspended, lines, entry_of(turn))
    end
    redis.call('UNLINK', unpack(KEYS, 6 * i + 1, 6 * i + 6))
    redis.call('ZREM', turns, ARGV[4 + i])
    redis.call('ZREM', open, ARGV[4 + i])
    redis.call('PUBLISH', cancels, ARGV[4 + count + i])
    redis.call('PUBLISH', channel_prefix .. KEYS[6 * i + 4], 'erased')
end
local left = redis.call('ZCARD', turns)
if left == 0 then
    redis.call('UNLINK', session, turns, open, numbering)
end
return left
