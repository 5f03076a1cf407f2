-- bury    KEYS: workers queue hints    ARGV: worker entry in_progress_prefix run_id …    -> 1 | 0 it has registered again: it lives
-- Takes a dead worker off the list and makes its jobs due at once.
-- include: time
local worker, entry, in_progress_prefix = unpack(ARGV, 1, 3)
if redis.call('HGET', KEYS[1], worker) ~= entry then
    return 0
end
local now = now_ms()
for i = 4, #ARGV do
    local run_id = ARGV[i]
    if redis.call('GET', in_progress_prefix .. run_id) == worker then
        redis.call('ZADD', KEYS[2], 'XX', now, run_id)  -- first what a full server refuses: then nothing is done by half
        redis.call('RPUSH', KEYS[3], run_id)
        redis.call('DEL', in_progress_prefix .. run_id)
    end
end
redis.call('LTRIM', KEYS[3], -1000, -1)
redis.call('HDEL', KEYS[1], worker)
return 1
