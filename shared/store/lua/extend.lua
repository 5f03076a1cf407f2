-- extend    KEYS: queue open_turns workers    ARGV: worker entry lease_ms sweep_ms in_progress_prefix run_id …    -> run_ids whose claim another worker has
-- The heartbeat: registers the worker and extends its claims; one that lapsed but that nobody took comes back.
-- include: time
local worker, entry, lease_ms, sweep_ms, in_progress_prefix = unpack(ARGV, 1, 5)
redis.call('HSET', KEYS[3], worker, entry)
if #ARGV == 5 then
    return {}
end
local now = now_ms()
local lost = {}
for i = 6, #ARGV do
    local run_id = ARGV[i]
    local key = in_progress_prefix .. run_id
    local holder = redis.call('GET', key)
    if holder and holder ~= worker then
        lost[#lost + 1] = run_id
    elseif redis.call('ZSCORE', KEYS[1], run_id) then  -- else it ended while this was under way
        redis.call('SET', key, worker, 'PX', lease_ms)
        redis.call('ZADD', KEYS[1], now + lease_ms, run_id)
        redis.call('ZADD', KEYS[2], 'XX', now + sweep_ms, run_id)
    end
end
return lost
