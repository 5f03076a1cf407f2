-- Hands out the open turns that somebody should look at, each once in `sweep_ms`, to the one worker that sweeps. A turn
-- whose job waits in the queue is not handed out, because the job will be taken. A worker that asks while nobody sweeps
-- becomes the one that sweeps. It remains that one as long as it asks again within `term_ms`.
-- It also keeps the list short that operators see: it takes off the oldest turns if there are too many, and those that
-- have ended long ago.
-- Safe to repeat: turns that a lost reply named are handed out again after `sweep_ms`.
-- KEYS
--   open_turns    zset: job id -> when the sweep should look at it
--   queue         zset: job id -> when it may start
--   sweeper       string: the worker that sweeps
--   workers       hash: worker -> entry of its last heartbeat
--   listed        zset: the newest turns, for operators -> when they were first enqueued, in µs
-- ARGV
--   worker        who asks
--   term_ms       how long a worker stays the one that sweeps, if it does not ask again
--   limit         how many entries to look at, at most
--   sweep_ms      when to look again at a turn that is handed out
--   waiting_ms    when to look again at a turn whose job waits in the queue
--   job_prefix    of the keys that hold the serialized jobs
--   most_listed   how many turns the list for operators keeps
--   listed_ms     a turn that was enqueued so long ago and is not open leaves the list
-- RETURNS {sweeps, wait_ms, job_id, mark, job_id, mark, …}
--   sweeps        1: the caller sweeps; 0: another worker does
--   wait_ms       ms until the next entry is due, -1 if there is none; if another worker sweeps: ms until the caller
--                 should ask again, which is longer in a large pool, where others ask in between
--   mark          with which `forget` takes the entry back
-- include: time

local open_turns, queue, sweeper, workers, listed = unpack(KEYS)
local worker, term_ms, limit, sweep_ms, waiting_ms, job_prefix, most_listed, listed_ms = unpack(ARGV)
local UNLISTED_TOGETHER = 1000
local STANDBY_MS, EACH_MS = 4000, 250
if (redis.call('GET', sweeper) or worker) ~= worker then
    return {0, math.max(STANDBY_MS, EACH_MS * redis.call('HLEN', workers))}
end
-- A full server refuses SET, but not PEXPIRE, nor the writes of a script that has written already.
if redis.call('PEXPIRE', sweeper, term_ms) == 0 then
    redis.call('SET', sweeper, worker, 'PX', term_ms)
end
local now = now_ms()
-- `enqueue` writes whole ms. The fraction lets `forget` tell this mark from one of the same ms.
local mark = string.format('%d.5', now + sweep_ms)
local reply = {1, -1}
local due = redis.call('ZRANGEBYSCORE', open_turns, '-inf', now, 'LIMIT', 0, limit)
for _, job_id in ipairs(due) do
    if redis.call('ZSCORE', queue, job_id) and redis.call('EXISTS', job_prefix .. job_id) == 1 then
        redis.call('ZADD', open_turns, now + waiting_ms, job_id)
    else
        redis.call('ZADD', open_turns, mark, job_id)
        reply[#reply + 1] = job_id
        reply[#reply + 1] = mark
    end
end
local surplus = math.min(redis.call('ZCARD', listed) - most_listed, UNLISTED_TOGETHER)
if surplus > 0 then
    redis.call('ZREMRANGEBYRANK', listed, 0, surplus - 1)
end
local old = redis.call('ZRANGEBYSCORE', listed, '-inf', (now - listed_ms) * 1000, 'LIMIT', 0, UNLISTED_TOGETHER / 10)
for _, run_id in ipairs(old) do
    if not redis.call('ZSCORE', open_turns, run_id) then
        redis.call('ZREM', listed, run_id)
    end
end
local first = redis.call('ZRANGE', open_turns, 0, 0, 'WITHSCORES')
if first[2] then
    reply[2] = math.max(tonumber(first[2]) - now, 0)
end
return reply
