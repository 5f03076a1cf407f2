-- append    KEYS: events    ARGV: attempt seq event …    -> 1 | FENCED | GONE    The id is the fence; repeating is harmless.
-- include: log
local refused = add_events(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), {unpack(ARGV, 3)})
return refused or 1
