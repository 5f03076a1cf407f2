-- Stores a signal, and queues the turn if it waits for this one. The signal may come before the turn waits for it.
-- Safe to repeat: the first signal of a key stays.
-- KEYS
--   session       hash of the session
--   turn          hash of the turn
--   signals       hash: key -> signal
--   suspended     zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines         zset: pool and tenant -> how many of these turns they have
-- ARGV
--   key           of the signal
--   payload       JSON
--   max_signals   how many signals a turn may have
--   max_bytes     how many bytes they may have together
--   user          whose session it must be; '' if that does not matter
--   index         of the turn
--   followers     pub/sub channel of those who follow the session; nothing is published while nobody does
-- RETURNS {first, stored signal, enqueue, pool, priority}
--   first         1: this call stored it; 0: another one was there before
--   enqueue       1: the caller has to enqueue the turn's job
--   pool          of the turn, and its priority; null if they are the default ones
-- REFUSES
--   NOT_FOUND     there is no such turn, or it is another user's
--   TURN_ENDED    the turn has ended
--   SIGNAL_LIMIT  the turn's signals are as many, or as large, as they may be; never for the signal that it waits for
-- include: time suspension followers owned_by

local session, turn, signals, suspended, lines = unpack(KEYS)
local key, payload, max_signals, max_bytes, user, index, followers = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'awaiting', 'signal_bytes', 'pool', 'priority')
if not state[1] or is_foreign(session, user) then
    return redis.error_reply('NOT_FOUND no such turn')
end
local stored = redis.call('HGET', signals, key)
if stored then
    -- The caller that stored it may have died before it enqueued the job of the queued turn.
    return {0, stored, state[1] == 'queued' and 1 or 0, state[4], state[5]}
end
if state[1] == 'completed' or state[1] == 'failed' or state[1] == 'cancelled' then
    return redis.error_reply('TURN_ENDED this turn has ended')
end
local now = now_ms()
stored = '{"payload":' .. payload .. ',"emitted_at":' .. now .. '}'
local is_awaited = state[1] == 'suspended' and state[2] == key
local bytes = tonumber(state[3] or '0') + #key + #stored
if not is_awaited and redis.call('HLEN', signals) >= tonumber(max_signals) then
    return redis.error_reply('SIGNAL_LIMIT this turn has as many signals as it may have')
end
if not is_awaited and bytes > tonumber(max_bytes) then
    return redis.error_reply('SIGNAL_LIMIT the signals of this turn are too large together')
end
redis.call('HSET', signals, key, stored)
redis.call('HSET', turn, 'signal_bytes', bytes)
if is_awaited then
    wake(turn, suspended, lines, now)
    tell_followers(session, followers, index, now)
    return {1, stored, 1, state[4], state[5]}
end
return {1, stored, 0, state[4], state[5]}
