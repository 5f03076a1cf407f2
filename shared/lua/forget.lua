-- forget    KEYS: open_turns pending    ARGV: run_id mark    -> 1 forgotten | 0 it was marked anew meanwhile
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0') ~= tonumber(ARGV[2]) then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
