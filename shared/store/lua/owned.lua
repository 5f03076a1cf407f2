-- owned    KEYS: queue    ARGV: worker in_progress_prefix    -> run_ids that this worker has claimed
local owned = {}
for _, run_id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('GET', ARGV[2] .. run_id) == ARGV[1] then
        owned[#owned + 1] = run_id
    end
end
return owned
