-- Marks a turn's answer as stored by the product, or counts a try that failed. Either way the turn is kept for its
-- retention from now on.
-- Safe to repeat: an answer that is marked stays marked. A failed try may be counted twice.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   steps      hash: position -> step record
--   events     stream: the turn's log, and its pub/sub channel
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
-- ARGV
--   done            1: the product has stored the answer; 0: the try failed
--   final_text      what the product has stored; '' after a failed try
--   retention_ms    how long the turn is kept from now on
-- RETURNS
--   how often it was tried so far; -1 if nothing is pending

local session, turns, open, turn, steps, events, signals, ledger = unpack(KEYS)
local done, final_text, retention_ms = unpack(ARGV)
local state = redis.call('HMGET', turn, 'persist', 'status')
if state[1] ~= 'pending' or state[2] == 'queued' or state[2] == 'running' or state[2] == 'suspended' then
    return -1  -- a turn that was asked again has not ended yet
end
local tries = redis.call('HINCRBY', turn, 'persist_tries', 1)
if done == '1' then
    redis.call('HSET', turn, 'persist', 'done', 'final_text', final_text)
    redis.call('HDEL', turn, 'untransformed')
end
for _, key in ipairs({turn, steps, events, signals, ledger}) do
    redis.call('PEXPIRE', key, retention_ms)
end
if redis.call('EXISTS', open) == 0 then  -- a session with an open turn has no TTL
    redis.call('PEXPIRE', session, retention_ms)
    redis.call('PEXPIRE', turns, retention_ms)
end
return tries
