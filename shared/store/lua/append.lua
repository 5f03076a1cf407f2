-- Appends events to a turn's log and publishes them.
-- Safe to repeat: events whose ids are in the log already count as appended.
-- Redis itself refuses the ids of an older attempt. So the script reads the turn only when another attempt, or none,
-- holds the lease.
-- KEYS
--   turn       hash of the turn
--   lease      string: the lease of the running attempt
--   events     stream: the turn's log; its pub/sub channel is this key behind the prefix
-- ARGV
--   channel_prefix    of the channels of this deployment
--   attempt
--   token             the value of this attempt's lease
--   seq               seq of the first event
--   event …           the events' bytes
-- RETURNS
--   1
-- REFUSES
--   FENCED      this attempt has lost the turn
--   LOG_BEHIND  the server has lost events that it had acknowledged; the text is the seq after the last one that it has
--   GONE        the turn's log was erased
-- include: log

local turn, lease, events = unpack(KEYS)
local channel_prefix, attempt, token, seq = unpack(ARGV, 1, 4)
if redis.call('GET', lease) ~= token then
    -- include: fence
    if not runs(turn, attempt, token) then
        return redis.error_reply('FENCED the turn is not this attempt\'s any more')
    end
end
local stands = redis.call('XLEN', events)  -- the seqs have no gaps
if stands > 0 and stands < tonumber(seq) then  -- a log without any event was erased
    return redis.error_reply('LOG_BEHIND ' .. stands)
end
return add_events(events, channel_prefix, attempt, seq, {unpack(ARGV, 5)}) or 1
