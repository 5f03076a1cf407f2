-- Accepts a turn: writes a new one, reopens one that had failed or was cancelled, or attaches to the one that is there.
-- If the queue is in the same database, this script also enqueues the turn's job.
-- Safe to repeat: a repeat finds the turn and attaches to it, also if the turn has failed meanwhile.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   steps      hash: position -> step record
--   events     stream: the turn's log
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
--   numbering  string: the next index, also after the session's hash has expired
--   job …      the first 16 keys of `enqueue`; none if the queue is in another database
-- ARGV
--   index              of the turn
--   is_next            1: `index` is the session's next one, as the caller has read it; 0: the client named it
--   idempotency_key    '' if there is none
--   input_hash
--   tenant
--   on_busy            what to do while an earlier turn of the session is in progress
--   max_turns          how many turns a session may have
--   numbering_ms       how long the next index is kept from now on
--   lineage            of the server's data; see parts/attempt.lua
--   user               whose turn it is, '' if that is not known; a new session becomes this user's
--   bound              1: the session must be this user's, or new
--   parent             the index of the turn that this one follows; -1: none; '': the default, see parts/branch.lua
--   run_id
--   followers          pub/sub channel of those who follow the session; nothing is published while nobody does
--   submit_id          only a repeat of this call has the same
--   bytes              this one and the next seven are those of `enqueue`; all are '' if KEYS has none of its keys
--   job_ttl_ms
--   max_queued         it does not count for a turn that is queued already
--   sweep_ms
--   lane_name
--   is_batch
--   share
--   share_ms
--   field value …      the request's fields of the turn hash
-- RETURNS {verdict, attempt, mark, [record]}
--   created            the turn is new
--   reopened           it had failed or was cancelled, and is queued again
--   attached           it is queued already
--   running            it is running or suspended; or this is a repeat, and it has failed or was cancelled meanwhile
--   replay             it is completed
--   mark               with which `withdraw` takes this submit back; '' for a replay
--   record             field value … of the turn's hash; only for a replay
-- REFUSES
--   NOT_FOUND          the session is another tenant's, or another user's
--   MOVED              the session's next index has changed meanwhile; the reason is the new one
--   INPUT_MISMATCH     the turn was asked with other input
--   LEASE_HELD         the turn is in progress, and `on_busy` is reject
--   SESSION_BUSY       an earlier turn of the branch is in progress, and `on_busy` is reject
--   UNKNOWN_PARENT     the session has no earlier turn with this index
--   TURN_LIMIT         the session has as many turns as it may have
--   QUEUE_FULL         too many jobs wait, and the turn's job would be one more
-- include: time lanes job

local session, turns, open, turn, steps, events, signals, ledger, numbering = unpack(KEYS, 1, 9)
local index, is_next, idempotency_key, input_hash, tenant, on_busy, max_turns, numbering_ms,
    lineage, user, bound, parent, run_id, followers, submit_id, bytes, job_ttl_ms, max_queued, sweep_ms, lane_name,
    is_batch, share, share_ms = unpack(ARGV, 1, 23)
local idempotency_field = 'key:' .. idempotency_key

local known = redis.call('HMGET', session, 'tenant', 'next_index', idempotency_field, 'user', 'created_at',
    'followed')
local next_index = known[2] or redis.call('GET', numbering) or '0'
local old = redis.call('HMGET', turn, 'status', 'attempt', 'input_hash', 'error_code', 'submit_id')
local status, is_repeat = old[1], old[5] == submit_id
if (known[1] and known[1] ~= tenant) or (bound == '1' and (known[1] or status) and known[4] ~= user) then
    return redis.error_reply('NOT_FOUND no such session')
end
if is_next == '1' and not is_repeat then
    if known[3] == index and not status then
        -- include: keyed
        forget_key(session, index)  -- the retention of the turn that had this key is over
        known[3] = nil
    end
    -- The caller has hashed the input with the index that it had read. Check that it is still the next one.
    local expected = (idempotency_key ~= '' and known[3]) or next_index
    if expected ~= index then
        return redis.error_reply('MOVED ' .. expected)
    end
end

if status and old[3] ~= input_hash then
    return redis.error_reply('INPUT_MISMATCH this turn was asked with other input')
end
if status == 'completed' then
    return {'replay', tonumber(old[2]), '', redis.call('HGETALL', turn)}
end

-- The turn keeps the mark of this submit in `asked`. `withdraw` takes the turn back only while it is the latest.
local us = now_us()
local now, asked = math.floor(us / 1000), string.format('%d', us)

local queue_keys, job_waits, job_runs = #KEYS > 9 and job_keys(10) or nil, false, false
if queue_keys then
    job_waits, job_runs = find_job(queue_keys, run_id)
end
local function enqueue()
    if queue_keys then
        put_job(queue_keys, {
            id = run_id, tenant = tenant, bytes = bytes, ttl_ms = job_ttl_ms, sweep_ms = sweep_ms, lane = lane_name,
            is_batch = is_batch, share = share, share_ms = share_ms
        }, job_waits, job_runs, us)
    end
end

if status == 'queued' or status == 'running' or status == 'suspended' then
    if on_busy == 'reject' and not is_repeat then
        return redis.error_reply('LEASE_HELD this turn is in progress')
    end
    redis.call('HSET', turn, 'asked', asked)
    if status == 'queued' then
        enqueue()
        return {'attached', tonumber(old[2]), asked}
    end
    return {'running', tonumber(old[2]), asked}
end
if is_repeat then
    return {'running', tonumber(old[2]), ''}
end
if parent ~= '' and parent ~= '-1' and not status then
    -- include: branch
    if tonumber(parent) >= tonumber(index) or redis.call('EXISTS', sibling(turn, index, parent)) == 0 then
        return redis.error_reply('UNKNOWN_PARENT this session has no earlier turn ' .. parent)
    end
end
if on_busy == 'reject' then
    -- include: branch
    local is_busy = redis.call('EXISTS', open) == 1
    if is_busy and parent ~= '' then
        is_busy = ahead_of(open, turn, index, parent) ~= nil
    end
    if is_busy then
        return redis.error_reply('SESSION_BUSY an earlier turn of this session is in progress')
    end
end
local earlier_turns = redis.call('ZCARD', turns)
if not status and earlier_turns >= tonumber(max_turns) then
    return redis.error_reply('TURN_LIMIT this session has reached its limit of turns')
end
if queue_keys and not job_waits and is_full(queue_keys, tonumber(max_queued)) then
    return redis.error_reply('QUEUE_FULL too many turns are waiting')
end

-- Appends values to a list.
local function add(list, ...)
    for _, value in ipairs({...}) do
        list[#list + 1] = value
    end
end
-- Takes away the TTL of keys that may be there from earlier.
local function persist(...)
    for _, key in ipairs({...}) do
        redis.call('PERSIST', key)
    end
end

local fields = {'status', 'queued', 'crashes', 0, 'updated_at', now, 'asked', asked, 'submit_id', submit_id,
    unpack(ARGV, 24)}
if status then
    -- include: cut timeout
    -- those of the new request follow
    redis.call('HDEL', turn, 'pool', 'priority', 'traceparent', 'tracestate', 'request_id')
    if status == 'failed' and old[4] == 'signal_timeout' then
        forget_timeout(steps, signals)
    end
    redis.call('HSET', turn, 'resume_reason', 'retry', unpack(fields))
    -- the fields that make it a suspect stay
    redis.call('HDEL', turn, 'error_code', 'error_message', 'retryable', 'retry_after_ms', 'final_text',
        'untransformed', 'started_at', 'completed_at', 'cancel_requested', 'model_calls', 'tokens_in', 'tokens_out',
        'cached_tokens', 'reasoning_tokens', 'cost_nanos', 'currency', 'price_version', 'model_called', 'finish_reason',
        'partial', 'partial_text', 'in_history', 'crashes_alone')
    cut_log(events, turn)  -- no reader may see the old end again
else
    add(fields, 'attempt', 0, 'created_at', now, 'input_hash', input_hash, 'lineage', lineage)
    if tonumber(index) >= tonumber(next_index) then
        add(fields, 'next_index_before', next_index)
        next_index = string.format('%d', index + 1)
    end
    redis.call('HSET', turn, unpack(fields))
    local of_session = {'tenant', tenant, 'next_index', next_index}
    if not known[5] then
        add(of_session, 'created_at', now)
        if user ~= '' then
            add(of_session, 'user', user)
        end
    end
    if idempotency_key ~= '' then
        add(of_session, idempotency_field, index, 'key_of:' .. index, idempotency_key)
    end
    redis.call('HSET', session, unpack(of_session))
    redis.call('ZADD', turns, index, index)
    redis.call('SET', numbering, next_index, 'PX', numbering_ms)
end
redis.call('ZADD', open, index, index)
if known[1] or earlier_turns > 0 then
    persist(session, turns)
end
if status or redis.call('EXISTS', events, steps, signals, ledger) > 0 then
    persist(turn, events, steps, signals, ledger)
end
if tonumber(known[6] or '0') > now then
    redis.call('PUBLISH', followers, index)
end
enqueue()
return {status and 'reopened' or 'created', tonumber(old[2] or '0'), asked}
