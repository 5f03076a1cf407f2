-- Tenants and projects whose turns do not start. The hash `paused` has a field for each, `tenant:<name>` or
-- `project:<name>`: since when it is paused, or `resuming` while its jobs go back to their lines. These jobs are held:
-- they stand in a set of their own, which nobody serves, and in no line. In the queue they look as if they stood in a
-- line.

-- is_paused(paused, field)
-- RETURNS true if turns of this tenant or project do not start
local function is_paused(paused, field)
    local since = redis.call('HGET', paused, field)
    return since and since ~= 'resuming'
end

-- paused_fields(paused)
-- RETURNS the fields of all that is paused
local function paused_fields(paused)
    local fields, found = redis.call('HGETALL', paused), {}
    for i = 1, #fields, 2 do
        if fields[i + 1] ~= 'resuming' then
            found[#found + 1] = fields[i]
        end
    end
    return found
end
