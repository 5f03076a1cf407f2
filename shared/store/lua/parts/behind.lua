-- Noticing that this server lacks writes that it, or the primary before it, had acknowledged. A failover, a power cut
-- or a restored copy loses the last writes.

-- behind(log, seq)
-- `seq` is the seq of the worker's next event. The seqs of a log have no gaps, so it has as many events as that.
-- RETURNS nil, or the refusal: LOG_BEHIND
local function behind(log, seq)
    seq = tonumber(seq)
    local stands = seq > 0 and redis.call('XLEN', log) or 0
    if stands < seq and stands > 0 then  -- a log without any event was erased
        return redis.error_reply('LOG_BEHIND ' .. stands)
    end
    return nil
end

-- steps_behind(checkpoints, known)
-- `checkpoints` is the number of the turn's last checkpoint, and `known` that of the last one that the worker knows to
-- be stored. A checkpoint may replace an earlier one of its step, so the number of steps would not tell.
-- RETURNS nil, or the refusal: STEPS_BEHIND
local function steps_behind(checkpoints, known)
    local stands = tonumber(checkpoints or 0)
    if stands < tonumber(known) then
        return redis.error_reply('STEPS_BEHIND ' .. stands)
    end
    return nil
end
