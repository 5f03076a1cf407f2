-- Takes back a submit whose job the queue refused. A new turn disappears. Its index becomes the session's next one
-- again, unless a later index was given to a turn meanwhile. A reopened turn fails again.
-- Safe to repeat: a submit that was taken back stays taken back.
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
--   numbering  string: the next index, also after the session's hash has expired
-- ARGV
--   channel_prefix    of the channels of this deployment
--   index             of the turn
--   mark              the mark that `submit` returned
--   verdict           the verdict that `submit` returned: created or reopened
--   retention_ms      how long the failed turn is kept
--   followers         pub/sub channel of those who follow the session; nothing is published while nobody does
--   event …           the last events of a turn that was reopened
-- RETURNS {taken back, indexes of the session's turns that may be able to run now}
--   1               it is taken back
--   0               nothing was changed: somebody else has asked for the turn since, or a turn waits that follows it
-- REFUSES
--   FENCED          a newer attempt has written to the log
--   GONE            the log was erased
-- include: time log sums ledger close keyed branch followers

local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9], numbering = KEYS[10]}
local channel_prefix, index, mark, verdict, retention_ms, followers = unpack(ARGV, 1, 6)
local state = redis.call('HMGET', keys.turn, 'status', 'asked', 'attempt', 'wakes')
if (verdict == 'created' and not state[1]) or (state[1] == 'failed' and state[2] == mark) then
    return {1, woken(first_open(keys.open), state[4])}  -- it was taken back already
end
if state[1] ~= 'queued' or state[2] ~= mark or (verdict == 'created' and state[4]) then
    return {0, {}}
end
if verdict == 'created' then
    local created_at, next_before = unpack(redis.call('HMGET', keys.turn, 'created_at', 'next_index_before'))
    redis.call('DEL', keys.turn, keys.signals)
    tell_followers(keys.session, followers, index, now_ms())
    redis.call('ZREM', keys.turns, index)
    redis.call('ZREM', keys.open, index)
    forget_key(keys.session, index)
    if next_before and redis.call('HGET', keys.session, 'next_index') == string.format('%d', index + 1) then
        redis.call('HSET', keys.session, 'next_index', next_before)
        redis.call('SET', keys.numbering, next_before, 'KEEPTTL')
        if next_before == '0' then
            redis.call('DEL', keys.numbering)
        end
    end
    if redis.call('EXISTS', keys.turns) == 0 and redis.call('HGET', keys.session, 'created_at') == created_at then
        redis.call('DEL', keys.session)  -- this submit had created the session
    elseif redis.call('EXISTS', keys.open) == 0 then
        redis.call('PEXPIRE', keys.session, retention_ms)
        redis.call('PEXPIRE', keys.turns, retention_ms)
    end
    return {1, woken(first_open(keys.open), state[4])}
end
local attempt = tonumber(state[3]) + 1
local last = redis.call('XREVRANGE', keys.events, '+', '-', 'COUNT', 1)
local seq = tonumber(string.match(last[1][1], '%d+-(%d+)')) + 1
local refused = add_events(keys.events, channel_prefix, attempt, seq, {unpack(ARGV, 7)})
if refused then
    return refused
end
local fields = {'attempt', attempt, 'error_code', 'queue_full', 'error_message', 'too many turns are waiting',
    'retryable', '1'}
local now = now_ms()
redis.call('HSET', keys.turn, 'attempt_at', now)
add_row(keys, attempt, 'failed', 'queue_full', nothing_used(), now)
redis.call('HDEL', keys.turn, 'cancel_requested', 'resume_reason')
return {1, woken(close_turn(keys, index, 'failed', fields, retention_ms, now), state[4])}
