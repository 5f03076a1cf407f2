-- rewind    KEYS: session turn lease events ledger    ARGV: attempt token worker lease_ms after used    -> {new attempt, next seq, ledger row of the old one} | FENCED | GONE
-- A resumed producer took another way: what follows `after` goes, and the same worker goes on as the next attempt, for
-- ids never go back. Repeating it after a lost reply is harmless.
-- include: time log sums ledger fence attempt
local session, turn, lease, events, ledger = unpack(KEYS)
local attempt, token, worker, lease_ms, after, used = unpack(ARGV)
local new_attempt = tonumber(attempt) + 1
local new_token = worker .. '#' .. new_attempt
if redis.call('HGET', turn, 'attempt') == tostring(new_attempt) and redis.call('GET', lease) == new_token then
    return {new_attempt, next_seq(events), redis.call('HGET', ledger, attempt)}
end
local refused = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
delete_after(events, after)
local event = '{"type":"session.run.resumed","data":{"attempt":' .. new_attempt .. ',"after":"' .. after .. '","reason":"diverged"}}'
refused = add_events(events, new_attempt, next_seq(events), {event})
if refused then
    return refused
end
local now = now_ms()
local row = add_row({session = session, turn = turn, ledger = ledger}, attempt, 'diverged', '', used, now)
redis.call('HSET', turn, 'attempt', new_attempt, 'attempt_at', now)
redis.call('SET', lease, new_token, 'PX', lease_ms)
return {new_attempt, next_seq(events), row}
