-- handover    KEYS: turn lease    ARGV: attempt token    -> 1 given back, spends no attempt | 0 it was not ours any more
-- include: time
local state = redis.call('HMGET', KEYS[1], 'status', 'attempt', 'worker')
local holder = redis.call('GET', KEYS[2])
if state[1] ~= 'running' or state[2] ~= ARGV[1] or state[3] .. '#' .. ARGV[1] ~= ARGV[2] or (holder and holder ~= ARGV[2]) then
    return 0
end
redis.call('HSET', KEYS[1], 'status', 'queued', 'resume_reason', 'handover', 'updated_at', now_ms())
redis.call('DEL', KEYS[2])
return 1
