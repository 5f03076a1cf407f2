-- Queues a suspended turn whose deadline has passed. The timeout is stored under the key of the signal that did not
-- come, so the first of the two wins.
-- A turn that stays suspended is added to the index of suspended turns if it is missing there: a worker of an older
-- version has suspended it.
-- Safe to repeat: a turn that is not suspended stays as it is.
-- KEYS
--   session       hash of the session
--   turn          hash of the turn
--   signals       hash: key -> signal
--   suspended     zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines         zset: pool and tenant -> how many of these turns they have
-- ARGV
--   index         of the turn
--   followers     pub/sub channel of those who follow the session; nothing is published while nobody does
-- RETURNS
--   0             its deadline had passed, and it is queued now
--   n > 0         ms until its deadline
--   -1            it waits without a deadline
--   -2            it is not suspended
-- include: time suspension followers

local session, turn, signals, suspended, lines = unpack(KEYS)
local index, followers = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'awaiting', 'deadline', 'updated_at')
if state[1] ~= 'suspended' then
    return -2
end
local now = now_ms()
local left = state[3] and tonumber(state[3]) - now or -1
if left > 0 or not state[3] then
    list_suspended(suspended, lines, entry_of(turn), state[4] * 1000)
    return left
end
redis.call('HSETNX', signals, state[2], '{"timed_out":true,"emitted_at":' .. now .. '}')
wake(turn, suspended, lines, now)
tell_followers(session, followers, index, now)
return 0
