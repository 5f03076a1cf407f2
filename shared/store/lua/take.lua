-- Claims due jobs for a worker: arq's in-progress key gets the worker's name, and the job's score in the queue moves
-- to the end of the lease. The worker's set of claims names the job, so that nobody has to look for it in the queue.
-- It also decides whether the worker takes suspects instead, see parts/isolation.lua.
-- NOT safe to repeat: it does not hand out again what a lost reply named. `owned` tells what that was.
-- KEYS
--   queue                 zset: job id -> when it may start
--   hints                 list: wakes idle workers
--   claims                set: the jobs that this worker has claimed; it outlives them by one lease
--   suspects              zset: job id -> how many jobs may run in its worker, all of them suspects
--   isolating             zset: worker that runs suspects -> until when that counts
--   clearing              string: the worker that takes nothing until it is idle, because suspects wait
--   workers               hash: worker -> entry of its last heartbeat
--   beat                  string: when the last heartbeat of any worker came
--   grace                 string: is there while lapsed claims are left alone
-- ARGV
--   worker
--   lease_ms
--   count                 how many jobs to claim at most
--   woken                 1: the caller had popped a hint; 0: it looks by itself
--   slots                 how many suspects the worker can run
--   running               how many jobs run in the worker now
--   company               how many suspects run there at most; 0 if any jobs do
--   job_prefix            of the keys that hold the serialized jobs
--   in_progress_prefix    of the keys that hold the worker of each claimed job
-- RETURNS {wait_ms, company, job_id, job, job_id, job, …}
--   wait_ms               ms until the next job is due; -1 if there is none
--   company               0: the worker takes any jobs; n: suspects, at most n at a time; -1: nothing until it is idle
--   job                   the serialized job; '' if it has expired
-- include: time isolation grace

local queue, hints, claims, suspects, isolating, clearing, workers, beat, grace = unpack(KEYS)
local worker, lease_ms, count, woken, slots, running, company, job_prefix, in_progress_prefix = unpack(ARGV)
local GRACE_LOOK_MS = 500  -- when to look at a lapsed claim again
local now = now_ms()
local reply = {-1, 0}

-- Claims a job, unless another worker has it.
local function claim(job_id)
    if not redis.call('SET', in_progress_prefix .. job_id, worker, 'NX', 'PX', lease_ms) then
        return false
    end
    redis.call('ZADD', queue, string.format('%d.5', now + lease_ms), job_id)
    redis.call('SADD', claims, job_id)
    reply[#reply + 1] = job_id
    reply[#reply + 1] = redis.call('GET', job_prefix .. job_id) or ''
    return true
end

running, lease_ms = tonumber(running), tonumber(lease_ms)
local keys = {queue = queue, suspects = suspects, isolating = isolating, clearing = clearing, workers = workers}
company = isolation(keys, worker, tonumber(slots), running, tonumber(company), lease_ms, now)
while company > running + #reply / 2 - 1 do
    local job_id = redis.call('ZREVRANGEBYSCORE', suspects, '+inf', company, 'LIMIT', 0, 1)[1]
    if not job_id then
        break
    end
    redis.call('ZREM', suspects, job_id)
    if redis.call('ZSCORE', queue, job_id) then  -- it has not ended meanwhile
        claim(job_id)
    end
end
if company > 0 and running == 0 and #reply == 2 then
    company = 0
    redis.call('ZREM', isolating, worker)
end
reply[2] = company

local jobs, soonest_ms = {}, nil
if company == 0 then
    jobs = redis.call('ZRANGEBYSCORE', queue, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, count + 1)
end
for i = 1, #jobs, 2 do
    local job_id, due = jobs[i], tonumber(jobs[i + 1])
    if due > now or i > count * 2 then
        reply[1] = math.max(due - now, 0)
        break
    end
    local look_ms
    if due % 1 == 0.5 and in_grace(beat, grace, lease_ms, now) then
        look_ms = GRACE_LOOK_MS
    elseif not claim(job_id) then  -- another worker has it: it is due again when that claim ends
        look_ms = math.max(redis.call('PTTL', in_progress_prefix .. job_id), 0) + 1
    end
    if look_ms then
        redis.call('ZADD', queue, string.format('%d.5', now + look_ms), job_id)
        soonest_ms = math.min(soonest_ms or look_ms, look_ms)
    end
end
if soonest_ms and (reply[1] < 0 or soonest_ms < reply[1]) then
    reply[1] = soonest_ms
end
if #reply > 2 then
    redis.call('PEXPIRE', claims, 2 * lease_ms)
end
if company ~= 0 and woken == '1' then
    redis.call('RPUSH', hints, '')  -- the hint may have been for a job that this worker does not take
elseif company == 0 and reply[1] ~= 0 and (woken == '1' or #reply > 2) then
    redis.call('DEL', hints)  -- nothing else is due, so older hints would wake workers in vain
end
return reply
