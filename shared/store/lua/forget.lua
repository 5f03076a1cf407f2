-- forget    KEYS: open_turns pending billed    ARGV: run_id mark retention_ms    -> 1 forgotten | 0 it was marked anew meanwhile
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0') ~= tonumber(ARGV[2]) then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[3], ARGV[3])  -- nobody ends a job of this turn any more
return redis.call('ZREM', KEYS[1], ARGV[1])
