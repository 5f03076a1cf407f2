-- Looks at the turns of a session for those who follow it, and notes that somebody does, so that `submit` tells of the
-- turns that it accepts. Changes nothing else.
-- Safe to repeat: it reads the session again.
-- KEYS
--   session       hash of the session
--   turns         zset: the indexes of all its turns
--   open          zset: the indexes of its turns that are not terminal
--   turn          hash of the turn 0, which need not exist; the keys of the others are made from it
-- ARGV
--   since         of the turns from `from` on, only those that have changed at this time, in ms, or later
--   from          the index from which turns are looked at; '' for the open, the last and the named ones only
--   count         how many turns, and how many of the oldest open ones, one call looks at
--   followed_ms   how long the note is good for
--   index …       other turns to look at
-- RETURNS {created_at, now, next, {index, status, attempt, updated_at, parent, …}}
--   created_at    of the session, in ms; null if there is no such session, and then nothing else is returned
--   next          the index from which the next call goes on; '' if all turns were looked at
--   status        '' if there is no such turn
--   parent        '' if it is not decided
-- include: time branch

local session, turns, open, turn = unpack(KEYS)
local since, from, count, followed_ms = unpack(ARGV, 1, 4)
local created_at, followed = unpack(redis.call('HMGET', session, 'created_at', 'followed'))
if not created_at then
    return {false}
end
local now = now_ms()
local found, seen = {}, {}
local function look_at(index, least)
    if seen[index] then
        return
    end
    local state = redis.call('HMGET', sibling(turn, '0', index), 'status', 'attempt', 'updated_at', 'parent')
    if tonumber(state[3] or '0') < least then
        return
    end
    seen[index] = true
    for _, value in ipairs({index, state[1] or '', state[2] or '0', state[3] or '0', state[4] or ''}) do
        found[#found + 1] = value
    end
end

for _, index in ipairs({unpack(ARGV, 5)}) do
    look_at(index, 0)
end
for _, index in ipairs(redis.call('ZRANGE', open, 0, count - 1)) do
    look_at(index, 0)
end
for _, index in ipairs(redis.call('ZREVRANGE', turns, 0, 0)) do
    look_at(index, 0)
end
local next_index = ''
if from ~= '' then
    local page = redis.call('ZRANGEBYSCORE', turns, from, '+inf', 'LIMIT', 0, count)
    for _, index in ipairs(page) do
        look_at(index, tonumber(since))
    end
    if #page == tonumber(count) then
        next_index = string.format('%d', page[#page] + 1)
    end
end
if tonumber(followed or '0') < now + followed_ms / 2 then
    redis.pcall('HSET', session, 'followed', now + followed_ms)  -- a full server refuses it; the looks go on
end
return {created_at, now, next_index, found}
