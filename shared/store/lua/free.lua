-- Drops the lease that a dead worker holds on a turn, and notes how many jobs that worker had.
-- Safe to repeat: a lease of another worker, or none, stays as it is, and the note is the same.
-- KEYS
--   turn      hash of the turn
--   lease     string: the lease of the running attempt
-- ARGV
--   worker       the dead worker
--   company      how many jobs it had; 0: it has shut down properly
--   elsewhere    how many jobs there were in other workers that died at the same time, probably of the same cause
--   persists     1: its job was to persist the answer of the turn; 0: to run the turn
-- RETURNS
--   1         the lease is gone
--   0         the lease was not that worker's

local turn, lease = unpack(KEYS)
local worker, company, elsewhere, persists = unpack(ARGV)
-- The worker may have promised to run fewer jobs than `company` beside the turn. It kept this promise until it died, so
-- the smaller number counts.
local function company_of(promise)
    promise = tonumber(promise or '0')
    return (promise and promise > 0 and math.min(promise, company) or company) + elsewhere
end
if persists == '1' then
    local promise = redis.call('HGET', turn, 'persist_company')
    if promise and company == '0' then
        redis.call('HDEL', turn, 'persist_company')
    elseif promise then
        redis.call('HSET', turn, 'persist_company', company_of(promise))
    end
    return 0
end
local state = redis.call('HMGET', turn, 'status', 'worker', 'attempt', 'company')
local holder = redis.call('GET', lease)
if state[1] == 'running' and state[2] == worker and (not holder or holder == worker .. '#' .. state[3]) then
    redis.call('HSET', turn, 'company', company == '0' and 'stopped' or company_of(state[4]))
end
if holder and string.sub(holder, 1, #worker + 1) == worker .. '#' then
    return redis.call('DEL', lease)
end
return 0
