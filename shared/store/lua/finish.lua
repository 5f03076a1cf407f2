-- finish    KEYS: open_turns queue hints job in_progress pending billed ledger usage    ARGV: run_id worker job outcome delay_ms retention_ms max_rows ledger_row …    -> 1 the job is gone | 0 it will run again | -1 it was not ours any more
-- Outcomes: ended (the turn is terminal) | parked (something else will enqueue it; the sweep looks after delay_ms, '': as it would) | again (after delay_ms).
-- The turn's ledger rows, oldest first, go to the stream with it, those that are not there yet. New job bytes mean that it was asked for meanwhile: run again at once.
-- include: time sums publish
local open_turns, queue, hints, job, in_progress, pending = unpack(KEYS)
local run_id, worker, bytes, outcome, delay_ms, retention_ms, max_rows = unpack(ARGV)
local holder = redis.call('GET', in_progress)
if holder and holder ~= worker then
    return -1
end
local current = redis.call('GET', job)
if current and current ~= bytes then
    outcome, delay_ms = 'again', '0'
end
local keys = {billed = KEYS[7], ledger = KEYS[8], usage = KEYS[9]}
local is_open = outcome ~= 'ended' and redis.call('ZSCORE', open_turns, run_id)  -- not if this is a late repeat
publish(keys, is_open, retention_ms, max_rows, {unpack(ARGV, 8)})  -- first what a full server refuses
if outcome ~= 'again' then
    redis.call('DEL', job, in_progress)
    redis.call('ZREM', queue, run_id)
    if outcome == 'ended' then
        redis.call('ZREM', open_turns, run_id)
        redis.call('ZREM', pending, run_id)
    elseif delay_ms ~= '' then
        redis.call('ZADD', open_turns, 'XX', now_ms() + delay_ms, run_id)
    end
    return 1
end
redis.call('ZADD', queue, now_ms() + delay_ms, run_id)  -- before the claim is given up
redis.call('DEL', in_progress)
if delay_ms == '0' then
    redis.call('RPUSH', hints, run_id)
    redis.call('LTRIM', hints, -1000, -1)
end
return 0
