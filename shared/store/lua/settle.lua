-- Ends an attempt and its turn in one write: the terminal events, the outcome, the ledger row, the lease, the TTLs. If
-- no hook follows the producer, the producer's step record is part of this write, too.
-- Safe to repeat: a turn that this attempt has ended stays as it is, and its ledger row is returned again.
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
-- ARGV
--   channel_prefix    of the channels of this deployment; `-` if the caller tells the readers of the end
--   index             of the turn
--   attempt
--   token             the value of this attempt's lease
--   retention_ms      how long the ended turn is kept
--   status            completed, failed or cancelled
--   code              why it failed; '' if it did not
--   used              what the attempt used: JSON of texts, '' if nobody knows
--   seq               seq of the first event
--   known             as for `checkpoint`
--   position          of the step whose record is written here; '' if there is none
--   record            as for `checkpoint`
--   count             number of events
--   event …           the last events, the terminal one at the end
--   field value …     the outcome's fields of the turn hash
-- RETURNS {indexes of the session's turns that may be able to run now, ledger row}
-- REFUSES
--   FENCED           the lease of this attempt was lost
--   GONE             the log was erased
--   LOG_BEHIND       as for `append`
--   STEPS_BEHIND     as for `checkpoint`
-- include: time log sums ledger close behind branch

local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9]}
local channel_prefix, index, attempt, token, retention_ms, status, code, used, seq, known, position,
    record, count = unpack(ARGV, 1, 13)
local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'worker', 'checkpoints', 'wakes',
    'cancel_requested')
local holder = redis.call('GET', keys.lease)
local mine = state[2] == attempt and state[3] .. '#' .. attempt == token and not (holder and holder ~= token)
local row, next_open
if mine and state[1] == 'running' then
    local events = {unpack(ARGV, 14, 13 + count)}
    local refused = behind(keys.events, seq) or steps_behind(state[4], known)
        or add_events(keys.events, channel_prefix, attempt, seq, events)
    if refused then
        return refused
    end
    if position ~= '' then
        redis.call('HSET', keys.steps, position, record)
    end
    local now = now_ms()
    row = add_row(keys, attempt, status, code, told_use(used), now)
    if state[6] then
        redis.call('HDEL', keys.turn, 'cancel_requested')
    end
    next_open = close_turn(keys, index, status, {unpack(ARGV, 14 + count)}, retention_ms, now)
elseif not (mine and state[1] == status) then
    return redis.error_reply('FENCED the lease of this attempt was lost')
end
return {woken(next_open or first_open(keys.open), state[5]), row or redis.call('HGET', keys.ledger, attempt) or ''}
