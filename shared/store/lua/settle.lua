-- settle    KEYS: session turns open turn lease steps events signals ledger    ARGV: index attempt token retention_ms status code used seq count event … field value …    -> {next open index or '', ledger row} | FENCED | GONE
-- Ends the attempt in one write: terminal event, outcome, ledger row, lease, TTLs. Repeating it after a lost reply is harmless.
-- include: time log sums ledger close
local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9]}
local index, attempt, token, retention_ms, status, code, used, seq, count = unpack(ARGV, 1, 9)
local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'worker')
local holder = redis.call('GET', keys.lease)
local mine = state[2] == attempt and state[3] .. '#' .. attempt == token and not (holder and holder ~= token)
local row
if mine and state[1] == 'running' then
    local refused = add_events(keys.events, tonumber(attempt), tonumber(seq), {unpack(ARGV, 10, 9 + count)})
    if refused then
        return refused
    end
    local now = now_ms()
    row = add_row(keys, attempt, status, code, used, now)
    close_turn(keys, index, status, {unpack(ARGV, 10 + count)}, retention_ms, now)
elseif not (mine and state[1] == status) then
    return redis.error_reply('FENCED the lease of this attempt was lost')
end
return {redis.call('ZRANGE', keys.open, 0, 0)[1] or '', row or redis.call('HGET', keys.ledger, attempt) or ''}
