-- Keeps the record of an erasure until the product has erased its copy, too. Each call does one thing, the `event`:
-- keep it, note that nothing is left in Turnwire, begin a try to tell the product (the pauses between the tries are
-- doubled each time), note for which projects that is left to do, or forget the erasure because it is done.
-- Safe to repeat: an erasure that is kept, erased or done stays so. A repeat of a try finds that it is too early.
-- KEYS
--   erasures      hash: <id> -> the erasure, as JSON; <id>:… -> how far it came
-- ARGV
--   event         keep, erased, begin, left or done
--   id            of the erasure
--   document      keep: the erasure, as JSON; left: the same with the projects that are not told yet; else ''
--   pause_ms      keep: how long the first try waits; begin: half of the pause before the second try
--   longest_ms    begin: the longest pause
-- RETURNS {document, requested_at, is_erased, tries, wait_ms}
--   document      '' if there is no such erasure, or it is done
--   is_erased     1: nothing of it is left in Turnwire; 0: it was interrupted
--   wait_ms       0, or it is too early for a try, by so much
-- include: time

local erasures = unpack(KEYS)
local event, id, document, pause_ms, longest_ms = unpack(ARGV)
local now = now_ms()
if event == 'keep' and redis.call('HSETNX', erasures, id, document) == 1 then
    redis.call('HSET', erasures, id .. ':requested_at', now, id .. ':next_at', now + pause_ms)
end
local names = {id, id .. ':requested_at', id .. ':erased', id .. ':tries', id .. ':next_at'}
local state = redis.call('HMGET', erasures, unpack(names))
if not state[1] then
    return {'', 0, 0, 0, 0}
end
local tries, wait_ms = tonumber(state[4] or '0'), math.max(tonumber(state[5]) - now, 0)
if event == 'erased' then
    redis.call('HSET', erasures, id .. ':erased', 1)
elseif event == 'left' then
    redis.call('HSET', erasures, id, document)
elseif event == 'done' then
    redis.call('HDEL', erasures, unpack(names))
elseif event == 'begin' and wait_ms == 0 then
    tries = tries + 1
    local next_ms = math.min(pause_ms * 2 ^ math.min(tries, 20), longest_ms)
    redis.call('HSET', erasures, id .. ':tries', tries, id .. ':next_at', string.format('%d', now + next_ms))
end
return {state[1], tonumber(state[2]), state[3] and 1 or 0, tries, wait_ms}
