-- Takes the lease of a turn and starts its next attempt, which writes the attempt's first event.
-- Safe to repeat: an attempt that this worker started already is granted again, in the same lineage of the data. In
-- another one, the worker may have run this attempt to its end, and the server may have lost that: then the lease has
-- to end first. A repeat does not return the events after the last checkpoint, because the first call may have cut them
-- off.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   lease      string: the lease of the running attempt
--   steps      hash: position -> step record
--   events     stream: the turn's log; its pub/sub channel is this key behind the prefix
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
--   suspended  zset: entry of each suspended turn -> since when, in µs; see parts/suspension.lua
--   lines      zset: pool and tenant -> how many of these turns they have
-- ARGV
--   channel_prefix    of the channels of this deployment
--   index             of the turn
--   worker            id of the worker
--   lease_ms
--   max_attempts      how many workers may die while they run this turn and nothing else
--   retention_ms      how long an ended turn is kept
--   aside_ms          a suspect that has waited for this long may run beside any other job
--   company           0: the worker may run the turn beside any other job; n: it runs at most n jobs, all suspects
--   lineage           of the server's data; see parts/attempt.lua
--   keeps_tail        1: what the attempt before had streamed after its last checkpoint stays in the log; else 0
--   tenant_paused     1: new turns of its tenant do not start; else 0
--   paused            JSON: the projects whose new turns do not start; '' if there are none
--   end_prefix        `channel_prefix` for the events that end the turn; `-` if the caller tells the readers of the end
--   project …         the projects that the worker has hooks for; none: it has hooks for every turn
-- RETURNS one of
--   ok              attempt, next seq, now in ms, first event, turn fields, steps, ledger rows, events after the last
--                   checkpoint, ms that the turn has waited for this claim, see `could_run_at`; null in a repeat
--   held            ms that another worker's lease still lasts
--   wait            index of the earlier turn of its branch that must end first, on_busy
--   paused          it does not start: `tenant` or `project` is paused; its project or '', since when it waits, in µs
--   unserved        this worker has no hooks for the turn: ms since the turn last changed, its project or ''
--   suspect         at most how many jobs, all of them suspects, its worker may run: this worker may run more or others
--   unreadable      another version wrote the turn, or somebody changed it by hand
--   ended           status, indexes of the session's turns that may be able to run now, ledger rows; also the turn
--                   fields, unless the turn is completed, and the events of the last attempt, if a script has ended it
--   suspended       ledger rows
--   gone            there is no such turn
-- REFUSES
--   FENCED          a newer attempt has written to the log
--   GONE            the log was erased
-- include: time log attempt suspicion branch

local keys = {session = KEYS[1], turns = KEYS[2], open = KEYS[3], turn = KEYS[4], lease = KEYS[5], steps = KEYS[6],
              events = KEYS[7], signals = KEYS[8], ledger = KEYS[9], suspended = KEYS[10], lines = KEYS[11]}
local channel_prefix, index, worker, lease_ms, max_attempts, retention_ms, aside_ms, company,
    lineage, keeps_tail, tenant_paused, paused, end_prefix = unpack(ARGV, 1, 13)

-- The ledger rows of the attempts that have ended: whoever ends the job publishes them.
local function rows()
    return redis.call('HGETALL', keys.ledger)
end
-- What is left to do for a turn that has ended. If a script has ended it, no worker has shown its last events. If it is
-- not completed, its worker may have died before it told the product.
local function ended()
    -- include: branch
    local status, attempt, worker_then, wakes = unpack(redis.call('HMGET', keys.turn, 'status', 'attempt', 'worker',
        'wakes'))
    local fields, events = {}, {}
    if worker_then == '' or status ~= 'completed' then
        fields = redis.call('HGETALL', keys.turn)
    end
    if worker_then == '' then
        for i, entry in ipairs(redis.call('XRANGE', keys.events, attempt, '+')) do
            events[i] = entry[2][2]
        end
    end
    return {'ended', status, woken(first_open(keys.open), wakes), rows(), fields, events}
end
-- Whether this worker has hooks for the turns of a project.
local function serves(project)
    for i = 14, #ARGV do
        if ARGV[i] == project then
            return true
        end
    end
    return #ARGV < 14
end
-- What is paused, so that a turn of this project does not start: `tenant`, `project`, or nil.
local function on_pause(project)
    if tenant_paused == '1' then
        return 'tenant'
    end
    for _, name in ipairs(paused ~= '' and cjson.decode(paused) or {}) do
        if name == project then
            return 'project'
        end
    end
end
-- What the worker gets. `log`: see open_attempt. A first attempt finds neither steps nor ledger rows.
local function granted(attempt, now, log, steps, waited_for_claim_ms)
    return {'ok', attempt, log.next_seq, now, log.event, redis.call('HGETALL', keys.turn), steps,
            attempt > 1 and rows() or {}, log.cut, waited_for_claim_ms}
end
-- What the worker gets again, because the first reply was lost.
local function granted_again(attempt)
    -- include: attempt
    local first = redis.call('XRANGE', keys.events, attempt, '+', 'COUNT', 1)[1]
    local log = {event = first[2][2], next_seq = next_seq(keys.events), cut = {}}
    return granted(attempt, now_ms(), log, redis.call('HGETALL', keys.steps), false)
end

local state = redis.call('HMGET', keys.turn, 'status', 'attempt', 'resume_reason', 'cancel_requested', 'on_busy',
    'answered', 'updated_at', 'company', 'project', 'created_at', 'lease_end', 'lineage', 'parent', 'session', 'tenant',
    'started_at', 'crashes', 'crashes_alone', 'company_limit')
local status, attempt, parent, updated_at = state[1], tonumber(state[2] or '0'), state[13], tonumber(state[7])
if not status then
    return {'gone'}
end
local has_ended = status == 'completed' or status == 'failed' or status == 'cancelled'
local is_open = status == 'queued' or status == 'running' or status == 'suspended'
if not ((has_ended or is_open) and attempt and updated_at and tonumber(state[10])) then
    return {'unreadable'}
end
local answered = state[6]
local cancel = not answered and state[4]  -- after a complete answer, only the hooks are left, and they run
if status == 'suspended' and not cancel then
    return {'suspended', rows()}
end
if has_ended then
    return ended()
end
local holder = redis.call('GET', keys.lease)
if holder then
    local is_repeat = not state[12] or state[12] == lineage
    if is_repeat and status == 'running' and holder == worker .. '#' .. attempt then
        return granted_again(attempt)
    end
    return {'held', redis.call('PTTL', keys.lease)}
end
local ahead = state[5] ~= 'concurrent' and not cancel and ahead_of(keys.open, keys.turn, index, parent)
if ahead then
    if parent then
        -- include: branch
        note_wait(keys.turn, index, ahead)
    end
    return {'wait', ahead, state[5]}
end

local now = now_ms()
local project = state[9] or ''
local goes_on = status == 'running' or state[3] == 'handover' or state[3] == 'store_lost' or answered or cancel
local pause = not goes_on and on_pause(project)
if pause then
    return {'paused', pause, project, redis.call('HGET', keys.turn, 'asked') or string.format('%d', updated_at * 1000)}
end
if not serves(project) and not cancel then
    return {'unserved', now - updated_at, project}
end
local has_crashed = status == 'running' and state[8] ~= 'stopped'
local suspicion = read_suspicion(state, 17)
if has_crashed then
    -- include: suspicion
    add_crash(suspicion, tonumber(state[8] or '0'))
end
local is_given_up = suspicion.alone >= tonumber(max_attempts) and not answered
local unchanged_ms = now - (status == 'running' and tonumber(state[11]) or updated_at)
if not cancel and not is_given_up and unchanged_ms < tonumber(aside_ms)
        and not may_run(suspicion, tonumber(company)) then
    return {'suspect', suspicion.limit}
end
-- The turn has waited for this claim since its worker has renewed the lease for the last time, or since it was queued.
-- A turn could not run before the turn before it had ended.
local could_run_at = updated_at
if status == 'running' then
    could_run_at = (state[11] or now) - lease_ms
elseif index ~= '0' and parent ~= '-1' then
    local before = parent or string.format('%d', index - 1)
    local ended_at = redis.call('HGET', sibling(keys.turn, index, before), 'completed_at')
    could_run_at = math.max(updated_at, tonumber(ended_at or '0') or 0)
end
local waited_for_claim_ms = math.max(now - could_run_at, 0)
attempt = next_attempt(keys.turn, attempt, state[12], lineage, now)
local runner = (cancel or is_given_up) and '' or worker  -- nobody runs an attempt that ends here
local running = {}
if runner ~= '' then
    running = {'lease_end', now + lease_ms, 'parent', parent or default_parent(keys.turns, keys.turn, index)}
end
local known = {status = status, attempt = state[2], lease_end = state[11], session = state[14], tenant = state[15],
               started_at = state[16]}
local reason = status ~= 'running' and state[3] or 'lease_expired'
local refused, log = open_attempt(keys, known, channel_prefix, index, attempt, reason, runner, now, running,
    keeps_tail == '1')
if refused then
    return refused
end
if has_crashed then
    -- include: suspicion
    redis.call('HSET', keys.turn, unpack(suspicion_fields(suspicion, '')))
end
if runner == '' then
    -- include: sums ledger close attempt suspension
    local code, message = 'cancelled', cancel and cancel_message(cancel)
    if not cancel then
        code = 'attempts_exhausted'
        message = 'the turn was given up: ' .. suspicion.crashes .. ' workers died while they ran it'
    end
    refused = give_up(keys, end_prefix, index, attempt, code, message, retention_ms, now)
    if not refused and status == 'suspended' then
        unlist_suspended(keys.suspended, keys.lines, entry_of(keys.turn))
    end
    return refused or ended()
end
redis.call('SET', keys.lease, worker .. '#' .. attempt, 'NX', 'PX', lease_ms)  -- checked above: nobody holds it
if company ~= '0' then
    redis.call('HSET', keys.turn, 'company', company)
elseif state[8] then
    redis.call('HDEL', keys.turn, 'company')
end
return granted(attempt, now, log, attempt > 1 and redis.call('HGETALL', keys.steps) or {}, waited_for_claim_ms)
