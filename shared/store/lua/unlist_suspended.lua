-- Takes an entry off the index of suspended turns if its turn is not suspended. A process of an older version has then
-- woken, cancelled or erased it, or somebody has deleted it by hand.
-- Safe to repeat: an entry that is gone stays gone.
-- KEYS
--   turn          hash of the turn
--   suspended     zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines         zset: pool and tenant -> how many of these turns they have
-- ARGV
--   entry         of the turn
-- RETURNS
--   1             the entry is gone
--   0             nothing was changed
-- include: suspension

local turn, suspended, lines = unpack(KEYS)
local entry = ARGV[1]
if redis.call('HGET', turn, 'status') == 'suspended' and entry_of(turn) == entry then
    return 0
end
return unlist_suspended(suspended, lines, entry) and 1 or 0
