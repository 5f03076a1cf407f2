-- Starting an attempt, and ending a turn in an attempt that nobody runs.

-- next_seq(log)
-- RETURNS the seq after the log's last event
local function next_seq(log)
    local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
    return #last == 0 and 0 or tonumber(string.match(last[1][1], '%d+-(%d+)')) + 1
end

local SKIPPED_ATTEMPTS = 1000

-- next_attempt(turn, attempt, known, lineage, now)
-- `attempt` is the last attempt that the turn knows, and `known` the lineage of the data in which it was accepted or
-- claimed. A failover or a restart begins another lineage, whose data may lack a later claim. Readers may have seen the
-- number of that claim, so it must not be given again. So some numbers are skipped, and a turn's cursors stay in order.
-- The longer ago the turn was accepted, by the ms, the more are skipped. Two failovers may each lose a claim that
-- followed the same attempt, and in a failover two primaries may both take one. Lua writes 14 digits of a number, which
-- is enough for a turn of 30 days that is claimed after 38 failovers.
-- RETURNS the number of the next attempt
local function next_attempt(turn, attempt, known, lineage, now)
    if not known or known == lineage then
        return attempt + 1
    end
    redis.call('HSET', turn, 'lineage', lineage)
    local age_ms = math.max(now - redis.call('HGET', turn, 'created_at'), 0)
    return attempt + SKIPPED_ATTEMPTS * (1 + age_ms) + 1
end

-- open_attempt(keys, known, channel_prefix, index, attempt, reason, worker, now, running, keeps_tail)
-- Starts an attempt and writes its first event. From then on Redis refuses every event of an older attempt. If the
-- attempt before was still running, its worker has died, and its ledger row is written here. `known` has these
-- fields of the turn hash: session, tenant, status, attempt, lease_end, started_at. `running` are more of its fields,
-- with their values, if somebody runs the attempt. `keeps_tail`: see `cut_log`.
-- RETURNS nil and a table: `event`, the first event of the attempt, `next_seq`, the seq after it, and `cut`, the events
-- that were cut off or are gone on with; or the refusal: FENCED, GONE
local function open_attempt(keys, known, channel_prefix, index, attempt, reason, worker, now, running, keeps_tail)
    local event, seq, stands, cut = nil, 0, nil, {}
    if redis.call('XLEN', keys.events) > 0 then
        -- include: cut
        stands, cut = cut_log(keys.events, keys.turn, keeps_tail)
        seq = tonumber(string.match(stands, '%d+-(%d+)')) + 1
        event = '{"type":"session.run.resumed","data":{"attempt":' .. attempt .. ',"after":"' .. stands
            .. '","reason":"' .. reason .. '"}}'
    else
        event = '{"type":"session.run.started","data":{"sessionId":"' .. known.session .. '","tenantId":"'
            .. known.tenant .. '","turnIndex":' .. index .. ',"attempt":' .. attempt .. '}}'
    end
    local refused = add_events(keys.events, channel_prefix, attempt, seq, {event})
    if refused then
        return refused
    end
    if attempt > 1 and known.status == 'running' then
        -- include: sums ledger
        -- Nobody ran it after its lease had ended, however late somebody notices.
        local ended_at = math.min(now, tonumber(known.lease_end or now))
        add_row(keys, known.attempt, 'crashed', '', unknown_use(keys.turn, known.attempt), ended_at)
    end
    redis.call('HSET', keys.turn, 'status', 'running', 'attempt', attempt, 'attempt_at', now, 'worker', worker,
        'updated_at', now, 'started_at', known.started_at or now, unpack(running))
    -- From now on `withdraw` is too late: it needs `asked` and `next_index_before`.
    redis.call('HDEL', keys.turn, 'resume_reason', 'awaiting', 'deadline', 'asked', 'next_index_before',
        'ahead')
    return nil, {event = event, next_seq = seq + 1, cut = cut}
end

-- cancel_message(reason)
-- RETURNS the message of a cancelled turn
local function cancel_message(reason)
    return 'the turn was cancelled' .. (reason ~= '' and ': ' .. reason or '')
end

-- give_up(keys, channel_prefix, index, attempt, code, message, retention_ms, now)
-- Ends the turn in an attempt that nobody runs: its last events, its ledger row, its outcome.
-- RETURNS nil, or the refusal: FENCED, GONE
local function give_up(keys, channel_prefix, index, attempt, code, message, retention_ms, now)
    local quoted = cjson.encode(message)
    local failed = '{"type":"session.run.failed","data":{"sessionId":"' .. redis.call('HGET', keys.turn, 'session')
        .. '","message":' .. quoted .. ',"code":"' .. code .. '"}}'
    local events = {failed}
    if code ~= 'cancelled' then
        local why = '{"type":"error","data":{"message":' .. quoted .. ',"code":"' .. code .. '","retryable":false}}'
        events = {why, failed}
    end
    local refused = add_events(keys.events, channel_prefix, attempt, next_seq(keys.events), events)
    if refused then
        return refused
    end
    local fields = {'error_code', code, 'error_message', message, 'retryable', '0'}
    local status = code == 'cancelled' and 'cancelled' or 'failed'
    add_row(keys, attempt, status, code, nothing_used(), now)
    redis.call('HDEL', keys.turn, 'cancel_requested')
    close_turn(keys, index, status, fields, retention_ms, now)
    return nil
end
