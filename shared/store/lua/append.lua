-- Appends events to a turn's log and publishes them.
-- Safe to repeat: events whose ids are in the log already count as appended.
-- The ids are a fence of their own, because Redis refuses the ids of an older attempt. So the turn is read only when
-- the lease is not this attempt's.
-- KEYS
--   turn       hash of the turn
--   lease      string: the lease of the running attempt
--   events     stream: the turn's log, and its pub/sub channel
-- ARGV
--   attempt
--   token      the value of this attempt's lease
--   seq        seq of the first event
--   event …    the events' bytes
-- RETURNS
--   1
-- REFUSES
--   FENCED     the turn is not this attempt's any more
--   GONE       the turn's log was erased
-- include: log fence

local turn, lease, events = unpack(KEYS)
local attempt, token, seq = unpack(ARGV, 1, 3)
if redis.call('GET', lease) ~= token and not runs(turn, attempt, token) then
    return redis.error_reply('FENCED the turn is not this attempt\'s any more')
end
local refused = add_events(events, tonumber(attempt), tonumber(seq), {unpack(ARGV, 4)})
return refused or 1
