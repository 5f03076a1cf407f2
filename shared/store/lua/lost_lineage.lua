-- Tells whether the queue has to be rebuilt, to one caller at a time.
-- Safe to repeat: the same worker is told the same again.
-- KEYS
--   filled_in     string: the lineage of the queue's data in which the queue is complete
--   filled_from   string: the lineage of the turns' data that it is complete for, if they are on another server
--   rebuilding    string: the worker that rebuilds the queue
-- ARGV
--   lineage          of the queue's data
--   turns_lineage    of the turns' data; '' if they are on the same server
--   caller           an id that no other caller has
--   lock_ms          after this time another caller may begin
-- RETURNS
--   the lineage of the queue's data, if this caller should rebuild the queue; '' if nobody should, or somebody does
local filled_in, filled_from, rebuilding = unpack(KEYS)
local lineage, turns_lineage, caller, lock_ms = unpack(ARGV)
if redis.call('GET', filled_in) == lineage
    and (turns_lineage == '' or redis.call('GET', filled_from) == turns_lineage) then
    return ''
end
if redis.call('GET', rebuilding) == caller then
    redis.call('PEXPIRE', rebuilding, lock_ms)
elseif not redis.call('SET', rebuilding, caller, 'NX', 'PX', lock_ms) then
    return ''
end
return lineage
