-- Begins or ends a try to persist the answer of a turn that has ended. In all cases the turn is kept for its retention
-- from now on. A try is counted when it begins. One that never ends has killed its worker, see parts/suspicion.lua.
-- Safe to repeat: an answer that is marked stays marked. A repeat of a try finds that it is too early for another one.
-- KEYS
--   session    hash of the session
--   turns      zset: the indexes of all its turns
--   open       zset: the indexes of its turns that are not terminal
--   turn       hash of the turn
--   steps      hash: position -> step record
--   events     stream: the turn's log
--   signals    hash: key -> signal
--   ledger     hash: attempt -> ledger row
-- ARGV
--   event           begin: a try begins. fail: the try has failed, without a crash. done: the product has the answer.
--   final_text      done: what the product has stored; else ''
--   retention_ms    how long the turn is kept from now on
--   first_ms        the pause before the second try is twice this; each later pause is twice the one before
--   longest_ms      the longest pause
--   rare_ms         the pause of an answer that kills its workers
--   max_attempts    how many workers may die while they try this and nothing else, before the pause is `rare_ms`
--   company         0: the worker may run the job beside any other job; n: it runs at most n jobs, all suspects
-- RETURNS {tries, wait_ms, limit}
--   tries           how many tries have begun; -1 if nothing is pending
--   wait_ms         ms until the next try may begin; 0 if it may begin now
--   limit           0: the worker may run the job; n: only a worker may that runs at most n jobs, all of them suspects
-- include: time suspicion

local session, turns, open, turn, steps, events, signals, ledger = unpack(KEYS)
local event, final_text, retention_ms, first_ms, longest_ms, rare_ms, max_attempts, company = unpack(ARGV)
local fields = {'persist_crashes', 'persist_crashes_alone', 'persist_company_limit'}
local state = redis.call('HMGET', turn, 'persist', 'status', 'persist_tries', 'persist_at', 'persist_company',
    unpack(fields))
if state[1] ~= 'pending' or state[2] == 'queued' or state[2] == 'running' or state[2] == 'suspended' then
    return {-1, 0, 0}  -- a turn that was asked again has not ended yet
end
local now, tries = now_ms(), tonumber(state[3] or '0')
if event == 'begin' then
    local wait_ms = tonumber(state[4] or '0') - now
    if wait_ms > 0 then
        return {tries, wait_ms, 0}
    end
    local suspicion = read_suspicion(state, 6)
    if state[5] then
        add_crash(suspicion, tonumber(state[5]))
    end
    if not may_run(suspicion, tonumber(company)) then
        return {tries, 0, suspicion.limit}
    end
    tries = tries + 1
    local pause_ms = math.min(first_ms * 2 ^ math.min(tries, 20), longest_ms)
    if suspicion.alone >= tonumber(max_attempts) then
        pause_ms = rare_ms
    end
    redis.call('HSET', turn, 'persist_tries', tries, 'persist_at', string.format('%d', now + pause_ms),
        'persist_company', company, unpack(suspicion_fields(suspicion, 'persist_')))
else
    redis.call('HDEL', turn, 'persist_company', unpack(fields))  -- it has killed nobody this time
end
if event == 'done' then
    redis.call('HSET', turn, 'persist', 'done', 'final_text', final_text)
    redis.call('HDEL', turn, 'untransformed', 'persist_at')
end
for _, key in ipairs({turn, steps, events, signals, ledger}) do
    redis.call('PEXPIRE', key, retention_ms)
end
if redis.call('EXISTS', open) == 0 then  -- a session with an open turn has no TTL
    redis.call('PEXPIRE', session, retention_ms)
    redis.call('PEXPIRE', turns, retention_ms)
end
return {tries, 0, 0}
