-- Announces a turn to the sweep like `announce`, if its tenant may have one more, and counts it.
-- Safe to repeat: a turn that is announced already is counted once. Only the request counts again.
-- KEYS
--   open_turns     zset: job id -> when the sweep should look at it
--   rate           string: when the tenant's bucket of requests would be full again, in µs
--   own_open       set: the tenant's open turns, as far as they are counted
--   own_sessions   zset: the tenant's sessions -> until when their turns are kept, as far as they are counted
-- ARGV
--   run_id
--   look_ms        after how many ms the sweep should look
--   each_us        in how many µs the tenant may send one more request; 0: at any time
--   burst          how many requests it may send at once
--   max_open       how many open turns it may have; 0: any number
--   open_ms        how long the set of them is kept
--   session
--   max_sessions   how many sessions it may have; 0: any number
--   kept_ms        how long a session counts after a new turn
-- RETURNS {mark, left}
--   mark           with which `forget` takes the entry back; '' if the entry was there already
--   left           how many requests the tenant may send now
-- REFUSES
--   RATE_LIMITED       too many requests; the reason ends with the ms after which there may be another one
--   OPEN_TURNS_LIMIT   too many open turns
--   SESSION_LIMIT      too many sessions
-- include: time

local open_turns, rate, own_open, own_sessions = unpack(KEYS)
local run_id, look_ms, each_us, burst, max_open, open_ms, session, max_sessions, kept_ms = unpack(ARGV)
local CHECKED = 20  -- so many entries are looked at, which a worker of another version may have left behind
local us = now_us()
local now = math.floor(us / 1000)
each_us, max_open, max_sessions = tonumber(each_us), tonumber(max_open), tonumber(max_sessions)

local full_at = math.max(tonumber(redis.call('GET', rate) or '0'), us)
local wait_us = full_at + each_us - us - burst * each_us
if each_us > 0 and wait_us > 0 then
    local wait_ms = string.format('%d', math.ceil(wait_us / 1000))
    return redis.error_reply('RATE_LIMITED too many requests; the next one may come in ' .. wait_ms .. ' ms')
end
local is_new = not redis.call('ZSCORE', open_turns, run_id)
if is_new and max_open > 0 and redis.call('SCARD', own_open) >= max_open then
    for _, other in ipairs(redis.call('SRANDMEMBER', own_open, CHECKED)) do
        if not redis.call('ZSCORE', open_turns, other) then
            redis.call('SREM', own_open, other)
        end
    end
    if redis.call('SCARD', own_open) >= max_open then
        return redis.error_reply('OPEN_TURNS_LIMIT this tenant has as many open turns as it may have')
    end
end
if is_new and max_sessions > 0 then
    redis.call('ZREMRANGEBYSCORE', own_sessions, '-inf', now)
    if redis.call('ZCARD', own_sessions) >= max_sessions and not redis.call('ZSCORE', own_sessions, session) then
        return redis.error_reply('SESSION_LIMIT this tenant has as many sessions as it may have')
    end
    redis.call('ZADD', own_sessions, now + kept_ms, session)
    redis.call('PEXPIRE', own_sessions, kept_ms)
end
if each_us > 0 then
    full_at = full_at + each_us
    redis.call('SET', rate, string.format('%d', full_at), 'PX', math.ceil((full_at - us) / 1000))
end
if is_new and max_open > 0 then
    redis.call('SADD', own_open, run_id)
    redis.call('PEXPIRE', own_open, open_ms)
end
local left = each_us > 0 and math.floor((us + burst * each_us - full_at) / each_us) or 0
local mark = now + look_ms
return {redis.call('ZADD', open_turns, 'NX', mark, run_id) == 1 and string.format('%d', mark) or '', left}
