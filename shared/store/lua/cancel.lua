-- Cancels a turn. If a worker runs it, that worker is told; otherwise the turn ends here.
-- A turn whose answer is complete can no longer be cancelled: only the hooks that follow the answer are left to run.
-- Safe to repeat: a turn that has ended stays as it is, and the first reason is kept.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   lease      string: the lease of the running attempt
--   steps      hash: position -> step record
--   events     stream: the turn's log; its pub/sub channel is this key behind the prefix
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
--   suspended  zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines      zset: pool and tenant -> how many of these turns they have
-- ARGV
--   channel_prefix    of the channels of this deployment; `-` if the caller tells the readers of the end
--   index             of the turn
--   reason            may be empty
--   retention_ms      how long the ended turn is kept
--   cancels           pub/sub channel on which workers hear of cancels
--   run_id
--   lineage           of the server's data; see parts/attempt.lua
--   user              whose session it must be; '' if that does not matter
--   repeated          1: cancel only if an earlier request to cancel is still pending; 0: cancel in any case
-- RETURNS {verdict, indexes of the session's turns that may be able to run now}
--   ended           the turn was terminal already, or the earlier request is no longer pending
--   cancelled       nobody ran the turn, and it has ended now
--   requested       the turn's worker is told; the turn may still complete before the worker stops
-- REFUSES
--   NOT_FOUND       there is no such turn, or it is another user's
--   FENCED          a newer attempt has written to its log
--   GONE            its log was erased
-- include: time log sums ledger close attempt owned_by branch suspension

local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9], suspended = KEYS[10], lines = KEYS[11]}
local channel_prefix, index, reason, retention_ms, cancels, run_id, lineage, user, repeated = unpack(ARGV)
local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'answered', 'cancel_requested', 'lineage', 'wakes',
    'session', 'tenant', 'lease_end', 'started_at')
local status = state[1]
if not status or is_foreign(keys.session, user) then
    return redis.error_reply('NOT_FOUND no such turn')
end
if status ~= 'queued' and status ~= 'running' and status ~= 'suspended' then
    return {'ended', {}}
end
if repeated == '1' and not state[4] then
    return {'ended', {}}
end
if state[3] or (status == 'running' and redis.call('EXISTS', keys.lease) == 1) then
    redis.call('HSETNX', keys.turn, 'cancel_requested', reason)
    redis.call('PUBLISH', cancels, run_id)
    return {'requested', {}}
end
local now = now_ms()
local attempt = next_attempt(keys.turn, tonumber(state[2]), state[5], lineage, now)
local message = cancel_message(state[4] or reason)
local known = {status = status, attempt = state[2], session = state[7], tenant = state[8], lease_end = state[9],
               started_at = state[10]}
local refused = open_attempt(keys, known, channel_prefix, index, attempt, 'cancelled', '', now, {})
    or give_up(keys, channel_prefix, index, attempt, 'cancelled', message, retention_ms, now)
if not refused and status == 'suspended' then
    unlist_suspended(keys.suspended, keys.lines, entry_of(keys.turn))
end
return refused or {'cancelled', woken(first_open(keys.open), state[6])}
