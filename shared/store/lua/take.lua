-- take    KEYS: queue hints    ARGV: worker lease_ms count woken(0|1) job_prefix in_progress_prefix    -> ms until the next job is due or -1, run_id, job bytes or '', …
-- Claims due jobs for a worker: arq's in-progress key holds its name, the score moves to the end of the lease.
-- include: time
local queue, hints = KEYS[1], KEYS[2]
local worker, lease_ms, count, woken, job_prefix, in_progress_prefix = unpack(ARGV)
local now = now_ms()
local reply = {-1}
local jobs = redis.call('ZRANGEBYSCORE', queue, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, count + 1)
for i = 1, #jobs, 2 do
    local run_id, due = jobs[i], tonumber(jobs[i + 1])
    if due > now or i > count * 2 then
        reply[1] = math.max(due - now, 0)
        break
    end
    local in_progress = in_progress_prefix .. run_id
    if redis.call('SET', in_progress, worker, 'NX', 'PX', lease_ms) then
        redis.call('ZADD', queue, now + lease_ms, run_id)
        reply[#reply + 1] = run_id
        reply[#reply + 1] = redis.call('GET', job_prefix .. run_id) or ''
    else  -- it runs elsewhere: due again when that claim ends
        redis.call('ZADD', queue, now + math.max(redis.call('PTTL', in_progress), 0) + 1, run_id)
    end
end
if reply[1] ~= 0 and (woken == '1' or #reply > 1) then
    redis.call('DEL', hints)  -- nothing else is due: older hints would wake for nothing
end
return reply
