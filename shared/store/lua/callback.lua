-- Begins a try to tell the client's server of a turn, or notes that it was told.
-- The number of tries and the time of the next one are kept for one state of the turn; a later state begins anew.
-- Safe to repeat: a repeat of a try finds that it is too early for another one. What is told stays told.
-- KEYS
--   turn          hash of the turn
-- ARGV
--   event         begin: a try begins. done: the server has heard it, or wants to hear nothing.
--   state         attempt and status of the turn that it is told of
--   first_ms      the pause before the second try is twice this; each later pause is twice the one before
--   longest_ms    the longest pause
-- RETURNS {tries, wait_ms}
--   tries         how many tries have begun; -1 if there is nothing to tell
--   wait_ms       ms until the next try may begin; 0 if it may begin now
-- include: time

local turn = KEYS[1]
local event, state, first_ms, longest_ms = unpack(ARGV)
local known = redis.call('HMGET', turn, 'callback', 'callback_told', 'callback_state', 'callback_tries', 'callback_at')
if not known[1] or known[2] == state then
    return {-1, 0}
end
if event == 'done' then
    redis.call('HSET', turn, 'callback_told', state)
    redis.call('HDEL', turn, 'callback_state', 'callback_tries', 'callback_at')
    return {-1, 0}
end
local tries, at = 0, 0
if known[3] == state then
    tries, at = tonumber(known[4]), tonumber(known[5])
end
local now = now_ms()
if at > now then
    return {tries, at - now}
end
tries = tries + 1
local pause_ms = math.min(first_ms * 2 ^ math.min(tries, 20), longest_ms)
redis.call('HSET', turn, 'callback_state', state, 'callback_tries', tries,
    'callback_at', string.format('%d', now + pause_ms))
return {tries, 0}
