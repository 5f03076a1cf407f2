-- submit    KEYS: session turns open turn steps events signals ledger    ARGV: index next(0|1) idempotency_key input_hash tenant on_busy max_turns field value …    -> verdict, attempt, mark | NOT_FOUND | MOVED index | INPUT_MISMATCH | LEASE_HELD | SESSION_BUSY | TURN_LIMIT
-- Verdicts: created | reopened (it had failed or was cancelled) | attached (it waits) | running (or suspended) | replay (it is completed).
-- include: time log
local session, turns, open, turn, steps, events, signals, ledger = unpack(KEYS)
local index, is_next, idempotency_key, input_hash, tenant, on_busy = unpack(ARGV, 1, 6)
local max_turns = tonumber(ARGV[7])
local idempotency_field = 'key:' .. idempotency_key

local known = redis.call('HMGET', session, 'tenant', 'next_index', idempotency_field)
if known[1] and known[1] ~= tenant then
    return redis.error_reply('NOT_FOUND no such session')
end
if is_next == '1' then  -- the caller hashed the input with an index it had read: is it still the one?
    local expected = (idempotency_key ~= '' and known[3]) or known[2] or '0'
    if expected ~= index then
        return redis.error_reply('MOVED ' .. expected)
    end
end

local function mark()  -- of this submit, unlike any other: withdraw takes back only what nobody asked for since
    local t = redis.call('TIME')
    local asked = t[1] .. string.format('%06d', t[2])
    redis.call('HSET', turn, 'asked', asked)
    return asked
end

local old = redis.call('HMGET', turn, 'status', 'attempt', 'input_hash')
local status = old[1]
if status and old[3] ~= input_hash then
    return redis.error_reply('INPUT_MISMATCH this turn was asked with other input')
end
if status == 'completed' then
    return {'replay', tonumber(old[2]), ''}
end
if status == 'queued' or status == 'running' or status == 'suspended' then
    if on_busy == 'reject' then
        return redis.error_reply('LEASE_HELD this turn is in progress')
    end
    return {status == 'queued' and 'attached' or 'running', tonumber(old[2]), mark()}
end
if on_busy == 'reject' and redis.call('EXISTS', open) == 1 then
    return redis.error_reply('SESSION_BUSY an earlier turn of this session is in progress')
end
if not status and redis.call('ZCARD', turns) >= max_turns then
    return redis.error_reply('TURN_LIMIT this session has as many turns as it may have')
end

local now = now_ms()
local fields = {}
for i = 8, #ARGV do
    fields[#fields + 1] = ARGV[i]
end
redis.call('HSET', turn, 'status', 'queued', 'updated_at', now, unpack(fields))
if status then
    redis.call('HSET', turn, 'resume_reason', 'retry', 'crashes', 0)
    redis.call('HDEL', turn, 'error_code', 'error_message', 'retryable', 'final_text', 'started_at',
        'completed_at', 'cancel_requested', 'model_calls', 'tokens_in', 'tokens_out', 'cost_nanos', 'currency',
        'price_version', 'model_called')
    cut_log(events, steps, turn)  -- nobody may read the old end again
else
    redis.call('HSET', turn, 'attempt', 0, 'crashes', 0, 'created_at', now, 'input_hash', input_hash)
    redis.call('HSETNX', session, 'created_at', now)
    redis.call('HSET', session, 'tenant', tenant)
    redis.call('ZADD', turns, index, index)
    if tonumber(index) >= tonumber(known[2] or '0') then
        redis.call('HSET', session, 'next_index', string.format('%d', index + 1))
    end
    if idempotency_key ~= '' then
        redis.call('HSET', session, idempotency_field, index)
    end
end
redis.call('ZADD', open, index, index)
for _, key in ipairs({session, turns, turn, events, steps, signals, ledger}) do
    redis.call('PERSIST', key)
end
return {status and 'reopened' or 'created', tonumber(old[2] or '0'), mark()}
