-- The branches of a session. A turn follows its parent, which is an earlier turn of the session. It waits only for open
-- turns that it follows. These fields of the turn hash are about that:
-- `parent`   the index of the parent; -1 if there is none. The client gave it, or the first attempt's claim decided it.
-- `ahead`    the index of the turn that it waits for, if its parent was given
-- `wakes`    the indexes of the turns that wait for this one and whose parent was given
-- `in_history`  1: the turn was stopped, and its partial text belongs to the history of those that follow it

-- sibling(turn, index, other)
-- `turn` is the key of the session's turn `index`.
-- RETURNS the key of its turn `other`, which has the same hash tag
local function sibling(turn, index, other)
    return string.sub(turn, 1, -1 - #index) .. other
end

-- first_open(open)
-- RETURNS the lowest index of an open turn; '' if there is none
local function first_open(open)
    return redis.call('ZRANGE', open, 0, 0)[1] or ''
end

local MOST_FAILED = 500  -- so many failed turns in a row are looked at, because Redis serves nobody else meanwhile

-- ahead_of(open, turn, index, parent)
-- Without a parent, any earlier turn may still become it, so the first open one is ahead. With a parent, that one is
-- ahead while it is open. If it has ended without an answer, the turn follows the parent of its parent, and so on. If
-- `MOST_FAILED` such turns follow each other, the turn waits as if it had no parent.
-- RETURNS the index of an open turn that must end before this one may run, or nil
local function ahead_of(open, turn, index, parent)
    local first, looked_at = first_open(open), 0
    -- A turn follows earlier ones only. So nothing is ahead of one that comes before the first open turn.
    while parent ~= '-1' and first ~= '' and tonumber(first) < tonumber(index) do
        if not parent or looked_at == MOST_FAILED then
            return first
        elseif redis.call('ZSCORE', open, parent) then
            return parent
        end
        local state = redis.call('HMGET', sibling(turn, index, parent), 'status', 'parent')
        if state[1] ~= 'failed' and state[1] ~= 'cancelled' then
            return nil
        end
        index, turn, parent, looked_at = parent, sibling(turn, index, parent), state[2], looked_at + 1
    end
    return nil
end

-- note_wait(turn, index, ahead)
-- Notes that the turn waits for the turn `ahead`, so that the end of that one wakes it.
local function note_wait(turn, index, ahead)
    local other = sibling(turn, index, ahead)
    local wakes = redis.call('HGET', other, 'wakes')
    redis.call('HSET', turn, 'ahead', ahead)
    if not wakes then
        redis.call('HSET', other, 'wakes', index)
    elseif not string.find(',' .. wakes .. ',', ',' .. index .. ',', 1, true) then
        redis.call('HSET', other, 'wakes', wakes .. ',' .. index)
    end
end

-- woken(first, wakes)
-- `first` is the lowest index of an open turn, and `wakes` is that field of a turn that has ended.
-- RETURNS the indexes of the turns that may be able to run now
local function woken(first, wakes)
    local indexes = {first ~= '' and first or nil}
    for index in string.gmatch(wakes or '', '%d+') do
        indexes[#indexes + 1] = index
    end
    return indexes
end

-- may_answer(turn)
-- RETURNS true if there is such a turn, and it has not ended without a text for the history
local function may_answer(turn)
    local state = redis.call('HMGET', turn, 'status', 'in_history')
    return state[1] and (state[2] or (state[1] ~= 'failed' and state[1] ~= 'cancelled'))
end

-- default_parent(turns, turn, index)
-- The turn may run now, so the earlier ones have ended. Only one that runs beside them has earlier turns that are open,
-- and those count as well: whoever asks next sees the answers of both. If `MOST_FAILED` turns in a row have no answer,
-- the turn follows the last of them that was looked at, and so the answers before it.
-- RETURNS the index of the latest turn before this one that has an answer, or may still get one; -1 if there is none
local function default_parent(turns, turn, index)
    if index == '0' then
        return '-1'
    end
    local before = string.format('%d', index - 1)
    if may_answer(sibling(turn, index, before)) then
        return before
    end
    local earlier = redis.call('ZREVRANGEBYSCORE', turns, '(' .. index, '-inf', 'LIMIT', 0, MOST_FAILED)
    for _, other in ipairs(earlier) do
        if may_answer(sibling(turn, index, other)) then
            return other
        end
    end
    return earlier[MOST_FAILED] or '-1'
end
