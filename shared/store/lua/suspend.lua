-- Suspends a turn until a signal comes, or returns the signal if it is there already. One script does both, so that no
-- signal can come unnoticed in between. A suspended turn has no lease and no worker.
-- Safe to repeat: a turn that this attempt has suspended stays as it is, and its ledger row is returned again.
-- KEYS
--   session       hash of the session
--   turn          hash of the turn
--   lease         string: the lease of the running attempt
--   steps         hash: position -> step record; `history` -> the messages that the producer sees
--   events        stream: the turn's log; its pub/sub channel is this key behind the prefix
--   signals       hash: key -> signal
--   ledger        hash: attempt -> ledger row
--   suspended     zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines         zset: pool and tenant -> how many of these turns they have
-- ARGV
--   channel_prefix    of the channels of this deployment
--   attempt
--   token             the value of this attempt's lease
--   lease_ms
--   key               of the signal
--   timeout_ms        how long to wait for it; '' for ever
--   used              what the attempt used: JSON of texts, '' if nobody knows
--   seq               seq of the event
--   event             session.run.suspended
--   history           JSON of the messages that the producer sees, for later attempts; '' if they are stored already
--   known             as of `checkpoint`
-- RETURNS {stored signal}, or {'', ledger row} if the turn is suspended
-- REFUSES
--   FENCED        the lease of this attempt was lost
--   GONE          the log was erased
--   LOG_BEHIND    as for `checkpoint`
--   STEPS_BEHIND  as for `checkpoint`
-- include: time log sums ledger fence behind suspension

local session, turn, lease, steps, events, signals, ledger, suspended, lines = unpack(KEYS)
local channel_prefix, attempt, token, lease_ms, key, timeout_ms, used, seq, event, history, known = unpack(ARGV)
local state = redis.call('HMGET', turn, 'status', 'awaiting', 'attempt', 'worker')
if state[1] == 'suspended' and state[2] == key and state[4] .. '#' .. state[3] == token then
    return {'', redis.call('HGET', ledger, attempt) or ''}
end
local refused, _, _, checkpoints = fence(turn, lease, attempt, token, lease_ms)
if refused then
    return refused
end
refused = behind(events, seq) or steps_behind(checkpoints, known)
if refused then
    return refused
end
local stored = redis.call('HGET', signals, key)
if stored then
    return {stored}
end
refused = add_events(events, channel_prefix, attempt, seq, {event})
if refused then
    return refused
end
local since_us = now_us()
local now = math.floor(since_us / 1000)
redis.call('HSET', turn, 'status', 'suspended', 'awaiting', key, 'stands', attempt .. '-' .. seq, 'updated_at', now)
if timeout_ms ~= '' then
    redis.call('HSET', turn, 'deadline', now + timeout_ms)
end
if history ~= '' then
    redis.call('HSETNX', steps, 'history', history)
end
redis.call('DEL', lease)
list_suspended(suspended, lines, entry_of(turn), since_us)
return {'', add_row({session = session, turn = turn, ledger = ledger}, attempt, 'suspended', '', told_use(used), now)}
