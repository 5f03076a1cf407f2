-- persisted    KEYS: turn steps events signals    ARGV: done(0|1) final_text retention_ms    -> tries so far | -1 nothing is pending
-- Marks the answer as stored by the product, or counts a try that failed; either way the turn is kept for its retention.
local state = redis.call('HGET', KEYS[1], 'persist')
if state ~= 'pending' then
    return -1
end
local tries = redis.call('HINCRBY', KEYS[1], 'persist_tries', 1)
if ARGV[1] == '1' then
    redis.call('HSET', KEYS[1], 'persist', 'done', 'final_text', ARGV[2])
end
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, ARGV[3])
end
return tries
