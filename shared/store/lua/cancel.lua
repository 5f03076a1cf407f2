-- cancel    KEYS: session turns open turn lease steps events signals ledger    ARGV: index reason retention_ms channel run_id    -> {verdict, next open index or ''} | NOT_FOUND
-- Verdicts: ended (it was terminal already) | cancelled (nobody ran it) | requested (its worker is told; it may also just complete).
-- include: time log sums ledger close attempt
local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9]}
local index, reason, retention_ms, channel, run_id = unpack(ARGV)
local state = redis.call('HMGET', keys.turn, 'status', 'attempt')
local status = state[1]
if not status then
    return redis.error_reply('NOT_FOUND no such turn')
end
if status ~= 'queued' and status ~= 'running' and status ~= 'suspended' then
    return {'ended', ''}
end
if status == 'running' and redis.call('EXISTS', keys.lease) == 1 then
    redis.call('HSETNX', keys.turn, 'cancel_requested', reason)
    redis.call('PUBLISH', channel, run_id)
    return {'requested', ''}
end
local now = now_ms()
local attempt = tonumber(state[2]) + 1
local refused = open_attempt(keys, index, attempt, 'cancelled', '', now)
    or give_up(keys, index, attempt, 'cancelled', cancel_message(reason), retention_ms, now)
return refused or {'cancelled', redis.call('ZRANGE', keys.open, 0, 0)[1] or ''}
