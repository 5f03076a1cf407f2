-- Tells whether the queue has to be rebuilt, to one caller at a time.
-- Safe to repeat: the same worker is told the same again.
-- KEYS
--   filled_in     string: the lineage of the data in which the queue is complete
--   rebuilding    string: the worker that rebuilds the queue
-- ARGV
--   lineage       of the server's data
--   caller        an id that no other caller has
--   lock_ms       after this time another caller may begin
-- RETURNS
--   the lineage, if this caller should rebuild the queue; '' if nobody should, or somebody does
local filled_in, rebuilding = unpack(KEYS)
local lineage, caller, lock_ms = unpack(ARGV)
if redis.call('GET', filled_in) == lineage then
    return ''
end
if redis.call('GET', rebuilding) ~= caller and not redis.call('SET', rebuilding, caller, 'NX', 'PX', lock_ms) then
    return ''
end
return lineage
