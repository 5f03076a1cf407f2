-- Claims due jobs for a worker: arq's in-progress key gets the worker's name, and the job's score in the queue moves
-- to the end of the lease. The worker's set of claims names the job, so that nobody has to look for it in the queue.
-- NOT safe to repeat: it does not hand out again what a lost reply named. `owned` tells what that was.
-- KEYS
--   queue                 zset: job id -> when it may start
--   hints                 list: wakes idle workers
--   claims                set: the jobs that this worker has claimed; it outlives them by one lease
-- ARGV
--   worker
--   lease_ms
--   count                 how many jobs to claim at most
--   woken                 1: the caller had popped a hint; 0: it looks by itself
--   job_prefix            of the keys that hold the serialized jobs
--   in_progress_prefix    of the keys that hold the worker of each claimed job
-- RETURNS {wait_ms, job_id, job, job_id, job, …}
--   wait_ms               ms until the next job is due; -1 if there is none
--   job                   the serialized job; '' if it has expired
-- include: time

local queue, hints, claims = unpack(KEYS)
local worker, lease_ms, count, woken, job_prefix, in_progress_prefix = unpack(ARGV)
local now = now_ms()
local reply = {-1}
local jobs = redis.call('ZRANGEBYSCORE', queue, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, count + 1)
for i = 1, #jobs, 2 do
    local job_id, due = jobs[i], tonumber(jobs[i + 1])
    if due > now or i > count * 2 then
        reply[1] = math.max(due - now, 0)
        break
    end
    local in_progress = in_progress_prefix .. job_id
    if redis.call('SET', in_progress, worker, 'NX', 'PX', lease_ms) then
        redis.call('ZADD', queue, now + lease_ms, job_id)
        redis.call('SADD', claims, job_id)
        reply[#reply + 1] = job_id
        reply[#reply + 1] = redis.call('GET', job_prefix .. job_id) or ''
    else  -- another worker has it: it is due again when that claim ends
        redis.call('ZADD', queue, now + math.max(redis.call('PTTL', in_progress), 0) + 1, job_id)
    end
end
if #reply > 1 then
    redis.call('PEXPIRE', claims, 2 * lease_ms)
end
if reply[1] ~= 0 and (woken == '1' or #reply > 1) then
    redis.call('DEL', hints)  -- nothing else is due, so older hints would wake workers in vain
end
return reply
