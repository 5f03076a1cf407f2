-- Stores a step that a hook has run after its turn ended. The outbox calls such hooks, and `on_event` sees the last
-- event.
-- Safe to repeat: it writes the same record again.
-- KEYS
--   turn        hash of the turn
--   steps       hash: position -> step record
-- ARGV
--   attempt     the last one of the turn
--   position    of the step
--   record      JSON, see StepRecord in shared/model.py
-- RETURNS
--   1
-- REFUSES
--   FENCED      the turn has not ended with this attempt

local turn, steps = unpack(KEYS)
local attempt, position, record = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'attempt')
local ended = state[1] == 'completed' or state[1] == 'failed' or state[1] == 'cancelled'
if not ended or state[2] ~= attempt then
    return redis.error_reply('FENCED the turn has not ended with this attempt')
end
redis.call('HSET', steps, position, record)
local left_ms = redis.call('PTTL', turn)
if left_ms > 0 then
    redis.call('PEXPIRE', steps, left_ms)
end
return 1
