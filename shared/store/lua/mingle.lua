-- Notes that from now on a worker may run any other jobs beside a turn. When it claimed the turn, it had promised to
-- run only a few jobs beside it, or none.
-- Safe to repeat: a turn that this worker does not run stays as it is.
-- KEYS
--   turn      hash of the turn
-- ARGV
--   worker    the worker that runs it
-- RETURNS
--   1

local turn = unpack(KEYS)
local worker = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'worker')
if state[1] == 'running' and state[2] == worker then
    redis.call('HDEL', turn, 'company')
end
return 1
