-- The end of a suspension.

-- wake(turn, now)
-- Queues a suspended turn again, because its signal or its timeout is stored.
local function wake(turn, now)
    redis.call('HSET', turn, 'status', 'queued', 'resume_reason', 'signal', 'updated_at', now)
    redis.call('HDEL', turn, 'awaiting', 'deadline')
end
