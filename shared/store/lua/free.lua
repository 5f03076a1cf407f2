-- free    KEYS: lease    ARGV: worker    -> 1 the lease of a dead worker is gone | 0 it was not that worker's
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, #ARGV[1] + 1) == ARGV[1] .. '#' then
    return redis.call('DEL', KEYS[1])
end
return 0
