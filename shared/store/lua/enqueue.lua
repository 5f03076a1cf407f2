-- enqueue    KEYS: open_turns queue hints job in_progress pending    ARGV: run_id job job_ttl_ms max_queued sweep_ms listed(0|1)    -> 1 enqueued | 0 it waits already | QUEUE_FULL
-- In arq's own format. A job that is running gets the new bytes: its finish sees them and makes it run again.
-- include: time
local open_turns, queue, hints, job, in_progress, pending = unpack(KEYS)
local run_id, bytes, job_ttl_ms, max_queued, sweep_ms, listed = unpack(ARGV)
local now = now_ms()
local waits = redis.call('EXISTS', job) == 1 and redis.call('ZSCORE', queue, run_id)
local runs = redis.call('EXISTS', in_progress) == 1
if not waits and redis.call('ZCARD', queue) >= tonumber(max_queued) then
    return redis.error_reply('QUEUE_FULL too many turns wait')
end
redis.call('ZADD', open_turns, now + sweep_ms, run_id)
if listed == '1' and not redis.call('ZSCORE', pending, run_id) then
    local last = redis.call('ZRANGE', pending, -1, -1, 'WITHSCORES')[2] or 0
    redis.call('ZADD', pending, string.format('%d', math.max(now * 1000, last + 1)), run_id)  -- no two alike: pages end there
end
if waits and not runs then
    return 0
end
redis.call('SET', job, bytes, 'PX', job_ttl_ms)
if not runs then
    redis.call('ZADD', queue, now, run_id)
    redis.call('RPUSH', hints, run_id)
    redis.call('LTRIM', hints, -1000, -1)  -- hints are lossy: the queue is the truth
end
return 1
