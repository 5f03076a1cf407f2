-- Drops the lease that a dead worker holds on a turn, and notes how many jobs that worker had.
-- Safe to repeat: a lease of another worker, or none, stays as it is, and the note is the same.
-- KEYS
--   turn      hash of the turn
--   lease     string: the lease of the running attempt
-- ARGV
--   worker    the dead worker
--   company   how many jobs it had; 0: it has stopped in order
-- RETURNS
--   1         the lease is gone
--   0         the lease was not that worker's

local turn, lease = unpack(KEYS)
local worker, company = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'worker', 'attempt', 'company')
local holder = redis.call('GET', lease)
local token = worker .. '#' .. (state[3] or '')
if state[1] == 'running' and state[2] == worker and (not holder or holder == token) then
    local promised = tonumber(state[4] or company) or tonumber(company)
    local had = math.min(promised, tonumber(company))  -- the worker has kept what it promised when it took the turn
    redis.call('HSET', turn, 'company', company == '0' and 'stopped' or had)
end
if holder and string.sub(holder, 1, #worker + 1) == worker .. '#' then
    return redis.call('DEL', lease)
end
return 0
