-- claim    KEYS: session turns open turn lease steps events signals    ARGV: index worker lease_ms max_attempts retention_ms    -> verdict, …
-- Verdicts: {ok, attempt, next seq, now, first event, turn fields, steps} | {held, ms left} | {wait, index of the turn before it}
--           | {ended, status, next open index or ''} | {gone}. A claim whose reply was lost may be repeated.
-- include: time log close
local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8]}
local index, worker, lease_ms, max_attempts, retention_ms = unpack(ARGV)

local function next_open()
    return redis.call('ZRANGE', keys.open, 0, 0)[1] or ''
end
local function next_seq()
    local last = redis.call('XREVRANGE', keys.events, '+', '-', 'COUNT', 1)
    return #last == 0 and 0 or tonumber(string.match(last[1][1], '%d+-(%d+)')) + 1
end
local function granted(attempt)
    local first = redis.call('XRANGE', keys.events, attempt, '+', 'COUNT', 1)[1]
    return {'ok', attempt, next_seq(), now_ms(), first[2][2], redis.call('HGETALL', keys.turn), redis.call('HGETALL', keys.steps)}
end

local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'crashes', 'resume_reason', 'cancel_requested', 'on_busy')
local status, attempt, crashes = state[1], tonumber(state[2] or '0'), tonumber(state[3] or '0')
if not status then
    return {'gone'}
end
if status == 'suspended' then
    return {'ended', status, ''}
end
if status ~= 'queued' and status ~= 'running' then
    return {'ended', status, next_open()}
end
local holder = redis.call('GET', keys.lease)
if holder then
    if status == 'running' and holder == worker .. '#' .. attempt then
        return granted(attempt)
    end
    return {'held', redis.call('PTTL', keys.lease)}
end
local first_open = next_open()
if state[6] ~= 'concurrent' and first_open ~= index and not state[5] then
    return {'wait', first_open}
end

local now = now_ms()
local reason = state[4] or 'lease_expired'
if status == 'running' then
    reason, crashes = 'lease_expired', crashes + 1
end
attempt = attempt + 1
local stands = cut_log(keys.events, keys.steps)
local event
if stands then
    event = '{"type":"session.run.resumed","data":{"attempt":' .. attempt .. ',"after":"' .. stands .. '","reason":"' .. reason .. '"}}'
else
    local names = redis.call('HMGET', keys.turn, 'session', 'tenant')
    event = '{"type":"session.run.started","data":{"sessionId":"' .. names[1] .. '","tenantId":"' .. names[2]
        .. '","turnIndex":' .. index .. ',"attempt":' .. attempt .. '}}'
end
local refused = add_events(keys.events, attempt, next_seq(), {event})
if refused then
    return refused
end
redis.call('HSET', keys.turn, 'status', 'running', 'attempt', attempt, 'crashes', crashes, 'worker', worker,
    'updated_at', now)
redis.call('HSETNX', keys.turn, 'started_at', now)
redis.call('HDEL', keys.turn, 'resume_reason')

local code, message
if state[5] then
    code, message = 'cancelled', 'the turn was cancelled'
elseif crashes >= tonumber(max_attempts) then
    code, message = 'attempts_exhausted', 'the turn was given up: ' .. crashes .. ' workers died while they ran it'
end
if code then
    local events = {
        '{"type":"error","data":{"message":"' .. message .. '","code":"' .. code .. '","retryable":false}}',
        '{"type":"session.run.failed","data":{"sessionId":"' .. redis.call('HGET', keys.turn, 'session')
            .. '","message":"' .. message .. '","code":"' .. code .. '"}}'}
    if code == 'cancelled' then
        table.remove(events, 1)
    end
    refused = add_events(keys.events, attempt, next_seq(), events)
    if refused then
        return refused
    end
    local fields = {'error_code', code, 'error_message', message, 'retryable', '0'}
    close_turn(keys, index, code == 'cancelled' and 'cancelled' or 'failed', fields, retention_ms, now)
    return {'ended', redis.call('HGET', keys.turn, 'status'), next_open()}
end
redis.call('SET', keys.lease, worker .. '#' .. attempt, 'PX', lease_ms)
return granted(attempt)
