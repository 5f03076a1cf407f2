-- take    KEYS: queue hints    ARGV: worker lease_ms count job_prefix in_progress_prefix    -> run_id, job bytes or '', …
-- Claims due jobs for a worker: arq's in-progress key holds its name, the score moves to the end of the lease.
-- include: time
local queue, hints = KEYS[1], KEYS[2]
local worker, lease_ms, count, job_prefix, in_progress_prefix = unpack(ARGV)
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, count)
local taken = {}
for _, run_id in ipairs(due) do
    local in_progress = in_progress_prefix .. run_id
    if redis.call('SET', in_progress, worker, 'NX', 'PX', lease_ms) then
        redis.call('ZADD', queue, now + lease_ms, run_id)
        taken[#taken + 1] = run_id
        taken[#taken + 1] = redis.call('GET', job_prefix .. run_id) or ''
    else  -- it runs elsewhere: due again when that claim ends
        redis.call('ZADD', queue, now + math.max(redis.call('PTTL', in_progress), 0) + 1, run_id)
    end
end
if #due < tonumber(count) then
    redis.call('DEL', hints)  -- nothing else is due: older hints would wake for nothing
end
return taken
