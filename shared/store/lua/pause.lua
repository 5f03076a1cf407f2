-- Pauses a tenant or a project: from the next `take` on, its turns do not start.
-- Safe to repeat: the time of the first call stays.
-- KEYS
--   paused        hash: `tenant:<name>`, `project:<name>` -> since when it is paused
-- ARGV
--   field         of the tenant or the project
--   most          how many may be paused
-- RETURNS
--   since when it is paused, in ms; -1: too many are paused already
-- include: time on_pause

local paused = unpack(KEYS)
local field, most = unpack(ARGV)
if is_paused(paused, field) then
    return tonumber(redis.call('HGET', paused, field))
end
if redis.call('HLEN', paused) >= tonumber(most) then
    return -1
end
local now = now_ms()
redis.call('HSET', paused, field, string.format('%d', now))
return now
