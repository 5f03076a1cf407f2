-- Begins a try to persist the answer of a turn that has ended, or marks the answer as persisted. Either way the turn is
-- kept for its retention from now on. A try is counted when it begins, so that one which kills its worker counts, too.
-- Safe to repeat: an answer that is marked stays marked. A repeat of a try finds that it is too early for another one.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   steps      hash: position -> step record
--   events     stream: the turn's log
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
-- ARGV
--   done            1: the product has stored the answer; 0: a try begins
--   final_text      what the product has stored; '' when a try begins
--   retention_ms    how long the turn is kept from now on
--   first_ms        the pause before the second try is twice this; each later pause is twice the one before
--   longest_ms      the longest pause
-- RETURNS {tries, wait_ms}
--   tries           how many tries have begun; -1 if nothing is pending
--   wait_ms         0: the try may begin; else it is too early, by so much
-- include: time

local session, turns, open, turn, steps, events, signals, ledger = unpack(KEYS)
local done, final_text, retention_ms, first_ms, longest_ms = unpack(ARGV)
local state = redis.call('HMGET', turn, 'persist', 'status', 'persist_tries', 'persist_at')
if state[1] ~= 'pending' or state[2] == 'queued' or state[2] == 'running' or state[2] == 'suspended' then
    return {-1, 0}  -- a turn that was asked again has not ended yet
end
local now, tries = now_ms(), tonumber(state[3] or '0')
if done == '1' then
    redis.call('HSET', turn, 'persist', 'done', 'final_text', final_text)
    redis.call('HDEL', turn, 'untransformed', 'persist_at')
else
    local wait_ms = tonumber(state[4] or '0') - now
    if wait_ms > 0 then
        return {tries, wait_ms}
    end
    tries = tries + 1
    local pause_ms = math.min(first_ms * 2 ^ math.min(tries, 20), longest_ms)
    redis.call('HSET', turn, 'persist_tries', tries, 'persist_at', string.format('%d', now + pause_ms))
end
for _, key in ipairs({turn, steps, events, signals, ledger}) do
    redis.call('PEXPIRE', key, retention_ms)
end
if redis.call('EXISTS', open) == 0 then  -- a session with an open turn has no TTL
    redis.call('PEXPIRE', session, retention_ms)
    redis.call('PEXPIRE', turns, retention_ms)
end
return {tries, 0}
