-- Stores the record of a step, and extends the lease.
-- Safe to repeat: it writes the same record again.
-- KEYS
--   turn        hash of the turn
--   lease       string: the lease of the running attempt
--   steps       hash: position -> step record
-- ARGV
--   attempt
--   token       the value of this attempt's lease
--   lease_ms
--   position    of the step
--   record      JSON, see StepRecord in shared/model.py
-- RETURNS
--   1
-- REFUSES
--   FENCED      the lease of this attempt was lost
-- include: fence

local turn, lease, steps = unpack(KEYS)
local attempt, token, lease_ms, position, record = unpack(ARGV)
local refused = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
redis.call('HSET', steps, position, record)
return 1
