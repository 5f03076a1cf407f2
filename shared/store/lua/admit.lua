-- Announces a turn to the sweep like `announce`, if its tenant and its API key may have one more, and counts it.
-- Safe to repeat: a turn that is announced already is counted once. Only the request counts again.
-- KEYS
--   open_turns         zset: job id -> when the sweep should look at it
--   rate               string: when the tenant's bucket of requests would be full again, in µs
--   own_open           set: the tenant's open turns, as far as they are counted
--   own_sessions       zset: the tenant's sessions -> until when their turns are kept, as far as they are counted
--   key_rate           string: the same as `rate` of the key
--   key_open           zset: the key's turns that were open when somebody looked at them -> when that was, in µs
--   key_sessions       zset: the same as `own_sessions` of the key
-- ARGV
--   run_id
--   look_ms            after how many ms the sweep should look
--   open_ms            how long the sets of open turns are kept
--   session
--   kept_ms            how long a session counts after a new turn
--   each_us            in how many µs the tenant may send one more request; 0: at any time
--   burst              how many requests it may send at once
--   max_open           how many open turns it may have; 0: any number
--   max_sessions       how many sessions it may have; 0: any number
--   key_each_us        the same four of the key
--   key_burst
--   key_max_open
--   key_max_sessions
-- RETURNS {mark, left, key_left}
--   mark               with which `forget` takes the entry back; '' if the entry was there already
--   left               how many requests the tenant may send now
--   key_left           how many requests the key may send now
-- REFUSES
--   RATE_LIMITED       too many requests; the text is the ms until the next one may come, and `tenant` or `key`
--   OPEN_TURNS_LIMIT   too many open turns
--   SESSION_LIMIT      too many sessions
-- include: time

local open_turns, rate, own_open, own_sessions, key_rate, key_open, key_sessions = unpack(KEYS)
local run_id, look_ms, open_ms, session, kept_ms, each_us, burst, max_open, max_sessions,
    key_each_us, key_burst, key_max_open, key_max_sessions = unpack(ARGV)
local CHECKED = 100  -- so many turns that were open are looked at, at most
local us = now_us()
local now = math.floor(us / 1000)
local is_new = not redis.call('ZSCORE', open_turns, run_id)
local tenant = {name = 'tenant', rate = rate, open = own_open, sessions = own_sessions, each_us = tonumber(each_us),
                burst = burst, max_open = tonumber(max_open), max_sessions = tonumber(max_sessions)}
local key = {name = 'key', rate = key_rate, open = key_open, sessions = key_sessions, each_us = tonumber(key_each_us),
             burst = key_burst, max_open = tonumber(key_max_open), max_sessions = tonumber(key_max_sessions)}

-- Counts the tenant's open turns. `finish` takes those that end off the set; a worker of another version does not.
function tenant.count()
    local count = redis.call('SCARD', tenant.open)
    if count >= tenant.max_open then
        for _, other in ipairs(redis.call('SRANDMEMBER', tenant.open, CHECKED)) do
            if not redis.call('ZSCORE', open_turns, other) then
                count = count - redis.call('SREM', tenant.open, other)
            end
        end
    end
    return count
end
-- Counts the key's open turns. A worker does not know the key of a turn, so those that have ended are taken off the set
-- here, when there seem to be too many: each time those that nobody has looked at for the longest time.
function key.count()
    local count = redis.call('ZCARD', key.open)
    if count >= key.max_open then
        local oldest = redis.call('ZRANGE', key.open, 0, CHECKED - 1)
        for i, look_at in ipairs(redis.call('ZMSCORE', open_turns, unpack(oldest))) do
            if look_at then
                redis.call('ZADD', key.open, us, oldest[i])
            else
                count = count - redis.call('ZREM', key.open, oldest[i])
            end
        end
    end
    return count
end

for _, who in ipairs({tenant, key}) do
    who.full_at = who.each_us > 0 and math.max(tonumber(redis.call('GET', who.rate) or '0'), us) or us
    local wait_us = who.full_at + who.each_us - us - who.burst * who.each_us
    if who.each_us > 0 and wait_us > 0 then
        local wait_ms = string.format('%d', math.ceil(wait_us / 1000))
        return redis.error_reply('RATE_LIMITED ' .. wait_ms .. ' ' .. who.name)
    end
    if is_new and who.max_open > 0 and who.count() >= who.max_open then
        return redis.error_reply('OPEN_TURNS_LIMIT this ' .. who.name .. ' has as many open turns as it may have')
    end
    if is_new and who.max_sessions > 0 then
        redis.call('ZREMRANGEBYSCORE', who.sessions, '-inf', now)
        if redis.call('ZCARD', who.sessions) >= who.max_sessions
                and not redis.call('ZSCORE', who.sessions, session) then
            return redis.error_reply('SESSION_LIMIT this ' .. who.name .. ' has as many sessions as it may have')
        end
    end
end
for _, who in ipairs({tenant, key}) do
    if is_new and who.max_sessions > 0 then
        redis.call('ZADD', who.sessions, now + kept_ms, session)
        redis.call('PEXPIRE', who.sessions, kept_ms)
    end
    who.left = 0
    if who.each_us > 0 then
        who.full_at = who.full_at + who.each_us
        redis.call('SET', who.rate, string.format('%d', who.full_at), 'PX', math.ceil((who.full_at - us) / 1000))
        who.left = math.floor((us + who.burst * who.each_us - who.full_at) / who.each_us)
    end
end
if is_new and tenant.max_open > 0 then
    redis.call('SADD', tenant.open, run_id)
    redis.call('PEXPIRE', tenant.open, open_ms)
end
if is_new and key.max_open > 0 then
    redis.call('ZADD', key.open, us, run_id)
    redis.call('PEXPIRE', key.open, open_ms)
end
local mark = now + look_ms
local is_announced = redis.call('ZADD', open_turns, 'NX', mark, run_id) == 1
return {is_announced and string.format('%d', mark) or '', tenant.left, key.left}
