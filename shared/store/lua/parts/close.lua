-- How a turn ends.

-- close_turn(keys, index, status, fields, retention_ms, now)
-- Writes the outcome, drops the lease, and gives every key of the turn its TTL. If no turn of the session is open any
-- more, the session's keys get theirs, too. A completed turn has no later attempt that would need its history.
-- The caller removes `cancel_requested` and `resume_reason`, if the turn may have them.
-- RETURNS the next open index of the session, or ''
local function close_turn(keys, index, status, fields, retention_ms, now)
    redis.call('HSET', keys.turn, 'status', status, 'completed_at', now, 'updated_at', now, unpack(fields))
    redis.call('DEL', keys.lease)
    if status == 'completed' then
        redis.call('HDEL', keys.steps, 'history')
    end
    redis.call('ZREM', keys.open, index)
    for _, key in ipairs({keys.turn, keys.steps, keys.events, keys.signals, keys.ledger}) do
        redis.call('PEXPIRE', key, retention_ms)
    end
    local next_open = redis.call('ZRANGE', keys.open, 0, 0)[1]
    if not next_open then
        redis.call('PEXPIRE', keys.session, retention_ms)
        redis.call('PEXPIRE', keys.turns, retention_ms)
    end
    return next_open or ''
end
