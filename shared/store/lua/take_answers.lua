-- Claims due jobs that persist answers, for a worker whose slots for turns are all taken. It looks at some of the
-- pending answers; the next call looks at those that follow.
-- NOT safe to repeat: it does not hand out again what a lost reply named. `owned` tells what that was.
-- KEYS
--   queue                 zset: job id -> when it may start
--   pending               zset: job id of an answer to persist -> since when, in µs
--   claims                set: the jobs that this worker has claimed; it outlives them by one lease
-- ARGV
--   worker
--   lease_ms
--   count                 how many jobs to claim at most
--   after                 where the last call ended, in µs; 0: begin with the oldest answer
--   look                  how many pending answers to look at
--   job_prefix            of the keys that hold the serialized jobs
--   in_progress_prefix    of the keys that hold the worker of each claimed job
-- RETURNS {after, job_id, job, job_id, job, …}
--   after                 for the next call; 0: it has come to the newest answer
--   job                   the serialized job; '' if it has expired
-- include: time

local queue, pending, claims = unpack(KEYS)
local worker, lease_ms, count, after, look, job_prefix, in_progress_prefix = unpack(ARGV)
local now = now_ms()
local answers = redis.call('ZRANGEBYSCORE', pending, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, look)
local reply = {#answers < 2 * look and '0' or answers[#answers]}
for i = 1, #answers, 2 do
    if #reply > 2 * count then
        reply[1] = answers[i - 1] or after
        break
    end
    local job_id = answers[i]
    local due = redis.call('ZSCORE', queue, job_id)
    if due and tonumber(due) <= now
            and redis.call('SET', in_progress_prefix .. job_id, worker, 'NX', 'PX', lease_ms) then
        redis.call('ZADD', queue, now + lease_ms, job_id)
        redis.call('SADD', claims, job_id)
        reply[#reply + 1] = job_id
        reply[#reply + 1] = redis.call('GET', job_prefix .. job_id) or ''
    end
end
if #reply > 1 then
    redis.call('PEXPIRE', claims, 2 * lease_ms)
end
return reply
