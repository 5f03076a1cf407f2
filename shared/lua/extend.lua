-- extend    KEYS: queue open_turns    ARGV: worker lease_ms sweep_ms in_progress_prefix run_id …    -> run_ids whose claim was lost
-- include: time
local worker, lease_ms, sweep_ms, in_progress_prefix = unpack(ARGV, 1, 4)
local now = now_ms()
local lost = {}
for i = 5, #ARGV do
    local run_id = ARGV[i]
    local key = in_progress_prefix .. run_id
    local holder = redis.call('GET', key)
    if holder and holder ~= worker then
        lost[#lost + 1] = run_id
    else
        redis.call('SET', key, worker, 'PX', lease_ms)
        redis.call('ZADD', KEYS[1], now + lease_ms, run_id)
        redis.call('ZADD', KEYS[2], 'XX', now + sweep_ms, run_id)
    end
end
return lost
