-- Deletes the events after a cursor and starts the next attempt in the same worker. A resumed producer that yields
-- other events than before needs this; it takes a new attempt, because ids in a stream never go back.
-- Safe to repeat: the attempt that the first call started is returned again.
-- KEYS
--   session     hash of the session
--   turn        hash of the turn
--   lease       string: the lease of the running attempt
--   events      stream: the turn's log; its pub/sub channel is this key behind the prefix
--   ledger      hash: attempt -> ledger row
-- ARGV
--   channel_prefix    of the channels of this deployment
--   attempt           the attempt that ends here
--   token             the value of its lease
--   worker            id of the worker
--   lease_ms
--   after             cursor of the last event that stays
--   used              what the attempt used: JSON of texts, '' if nobody knows
-- RETURNS {new attempt, its next seq, ledger row of the attempt that ended}
-- REFUSES
--   FENCED      the lease of this attempt was lost
--   GONE        the log was erased
-- include: time log cut sums ledger fence attempt

local session, turn, lease, events, ledger = unpack(KEYS)
local channel_prefix, attempt, token, worker, lease_ms, after, used = unpack(ARGV)
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
local event = '{"type":"session.run.resumed","data":{"attempt":' .. new_attempt .. ',"after":"' .. after
    .. '","reason":"diverged"}}'
refused = add_events(events, channel_prefix, new_attempt, next_seq(events), {event})
if refused then
    return refused
end
local now = now_ms()
local row = add_row({session = session, turn = turn, ledger = ledger}, attempt, 'diverged', '', told_use(used), now)
redis.call('HSET', turn, 'attempt', new_attempt, 'attempt_at', now, 'lease_end', now + lease_ms)
redis.call('SET', lease, new_token, 'PX', lease_ms)
return {new_attempt, next_seq(events), row}
