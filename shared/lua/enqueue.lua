-- enqueue    KEYS: open_turns queue hints job in_progress    ARGV: run_id job job_ttl_ms max_queued sweep_ms    -> 1 enqueued | 0 it waits already | QUEUE_FULL
-- In arq's own format. A job that is running gets the new bytes: its finish sees them and makes it run again.
-- include: time
local open_turns, queue, hints, job, in_progress = unpack(KEYS)
local run_id, bytes, job_ttl_ms, max_queued, sweep_ms = unpack(ARGV)
local now = now_ms()
local waits = redis.call('EXISTS', job) == 1 and redis.call('ZSCORE', queue, run_id)
local runs = redis.call('EXISTS', in_progress) == 1
if not waits and redis.call('ZCARD', queue) >= tonumber(max_queued) then
    return redis.error_reply('QUEUE_FULL too many turns wait')
end
redis.call('ZADD', open_turns, now + sweep_ms, run_id)
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
