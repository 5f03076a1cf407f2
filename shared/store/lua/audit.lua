-- Adds an entry to the audit stream.
-- Safe to repeat: a repeat adds the same entry again, with its own id; both name the same request.
-- KEYS
--   audit          stream: who asked for what
-- ARGV
--   entry          JSON
--   max_entries    about how many entries the stream keeps
-- RETURNS
--   the id of the entry

local audit = unpack(KEYS)
local entry, max_entries = unpack(ARGV)
return redis.call('XADD', audit, 'MAXLEN', '~', max_entries, '*', 'entry', entry)
