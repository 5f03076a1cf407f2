-- handover    KEYS: session turn lease ledger    ARGV: attempt token used    -> ledger row: it is given back, spends no attempt | '' it was not ours any more
-- include: time sums ledger
local keys = {session = KEYS[1], turn = KEYS[2], lease = KEYS[3], ledger = KEYS[4]}
local attempt, token, used = unpack(ARGV)
local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'worker')
local holder = redis.call('GET', keys.lease)
if state[1] ~= 'running' or state[2] ~= attempt or state[3] .. '#' .. attempt ~= token or (holder and holder ~= token) then
    local row = redis.call('HGET', keys.ledger, attempt) or ''
    return string.find(row, '"outcome":"handover"', 1, true) and row or ''  -- done before, but the reply was lost?
end
local now = now_ms()
local row = add_row(keys, attempt, 'handover', '', used, now)
redis.call('HSET', keys.turn, 'status', 'queued', 'resume_reason', 'handover', 'updated_at', now)
redis.call('DEL', keys.lease)
return row
