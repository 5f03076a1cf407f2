-- Hands out the open turns that somebody should look at, each once in `sweep_ms`. A turn whose job is in the queue is
-- not handed out: the job will be taken.
-- Safe to repeat: turns that a lost reply named are handed out again after `sweep_ms`.
-- KEYS
--   open_turns    zset: job id -> when the sweep should look at it
--   queue         zset: job id -> when it may start
-- ARGV
--   limit         how many entries to look at, at most
--   sweep_ms      when to look at each of them again
--   job_prefix    of the keys that hold the serialized jobs
-- RETURNS {wait_ms, job_id, mark, job_id, mark, …}
--   wait_ms       ms until the next entry is due; -1 if there is none
--   mark          with which `forget` takes the entry back
-- include: time

local open_turns, queue = unpack(KEYS)
local limit, sweep_ms, job_prefix = unpack(ARGV)
local now = now_ms()
-- `enqueue` writes whole ms. The fraction lets `forget` tell this mark from one of the same ms.
local mark = string.format('%d.5', now + sweep_ms)
local reply = {-1}
local entries = redis.call('ZRANGEBYSCORE', open_turns, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
for i = 1, #entries, 2 do
    local job_id, due = entries[i], tonumber(entries[i + 1])
    if due > now or i > limit * 2 then
        reply[1] = math.max(due - now, 0)
        break
    end
    redis.call('ZADD', open_turns, mark, job_id)
    if not (redis.call('ZSCORE', queue, job_id) and redis.call('EXISTS', job_prefix .. job_id) == 1) then
        reply[#reply + 1] = job_id
        reply[#reply + 1] = mark
    end
end
return reply
