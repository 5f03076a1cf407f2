-- Claims due jobs for a worker: arq's in-progress key gets the worker's name, and the job's score in the queue moves
-- to the end of the lease. The worker's set of claims names the job, so that nobody has to look for it in the queue.
-- Jobs whose time has come, such as those of dead workers, are first; then come those that stand in the lines of the
-- worker's lanes, see parts/lanes.lua.
-- It also decides whether the worker takes suspects instead, see parts/isolation.lua.
-- NOT safe to repeat: it does not hand out again what a lost reply named. `owned` tells what that was.
-- KEYS
--   queue                 zset: job id -> when it may start
--   hints                 list: wakes idle workers of the default pool
--   claims                set: the jobs that this worker has claimed; it outlives them by one lease
--   suspects              zset: job id -> how many jobs may run in its worker, all of them suspects
--   isolating             zset: worker that runs suspects -> until when that counts
--   clearing              string: the worker that takes nothing until it is idle, because suspects wait
--   workers               hash: worker -> entry of its last heartbeat
--   beat                  string: when the last heartbeat of any worker came
--   grace                 string: is there while lapsed claims are left alone
--   reserving             string: is there while a worker has none but reserved slots
--   paused                hash: `tenant:<name>`, `project:<name>` -> since when it is paused
--   own_hints …           the lists that wake idle workers of this worker's pools
-- ARGV
--   worker
--   lease_ms
--   count                 how many jobs to claim at most
--   woken                 1: the caller had popped a hint; 0: it looks by itself
--   slots                 how many suspects the worker can run
--   running               how many jobs run in the worker now
--   company               how many suspects run there at most; 0 if any jobs do
--   job_prefix            of the keys that hold the serialized jobs
--   in_progress_prefix    of the keys that hold the worker of each claimed job
--   lane_prefix           of the keys that hold the lanes of jobs
--   tenants_prefix        of the sets of a lane's tenants with jobs
--   debts_prefix          of the sets of a lane's other tenants, whose virtual start is still to come
--   waiting_prefix        of the lines: the jobs of a tenant in a lane
--   ageing_prefix         of the sets of the batch jobs of a pool
--   weight_prefix         of the keys that hold the weights of tenants
--   held_prefix           of the sets of jobs that wait until their tenant or project is resumed
--   reserved              so many of them only of tenants that run nothing in this worker
--   busy                  the tenants that run something there, with spaces between them
--   batch_age_ms          a batch job that has waited for so long counts as an interactive one
--   pools                 how many pools the worker serves
--   lane …                the lanes that it serves, the preferred one first: those of the pools, then those of batch
-- RETURNS {wait_ms, company, paused, job_id, job, job_id, job, …}
--   wait_ms               ms until the next job is due; -1 if there is none
--   company               0: the worker takes any jobs; n: suspects, at most n at a time; -1: nothing until it is idle
--   paused                the fields of what is paused; none if there is no job
--   job                   the serialized job; '' if it has expired
-- include: time lanes serve isolation on_pause

local queue, hints, claims, suspects, isolating, clearing, workers, beat, grace, reserving,
    paused = unpack(KEYS, 1, 11)
local worker, lease_ms, count, woken, slots, running, company, job_prefix, in_progress_prefix,
    lane_prefix, tenants_prefix, debts_prefix, waiting_prefix, ageing_prefix, weight_prefix,
    held_prefix, reserved, busy, batch_age_ms, pools = unpack(ARGV, 1, 20)
local own_hints, lanes = {unpack(KEYS, 12)}, {unpack(ARGV, 21)}
local prefixes = {tenants = tenants_prefix, debts = debts_prefix, waiting = waiting_prefix, ageing = ageing_prefix,
                  lane = lane_prefix, weight = weight_prefix}
local GRACE_LOOK_MS = 500  -- when to look at a lapsed claim again
local RESERVING_MS = 10000
local SUSPECTS_LOOK = 100  -- so many suspects are looked at, at most
local now = now_ms()
local lease_end = string.format('%d.5', now + lease_ms)
local wait_ms, soonest_ms, claimed = -1, nil, {}

-- Claims those of the jobs that no other worker has. Returns the others.
local function claim(job_ids)
    local scores, others = {}, {}
    for _, job_id in ipairs(job_ids) do
        if redis.call('SET', in_progress_prefix .. job_id, worker, 'NX', 'PX', lease_ms) then
            claimed[#claimed + 1] = job_id
            scores[#scores + 1] = lease_end
            scores[#scores + 1] = job_id
        else
            others[#others + 1] = job_id
        end
    end
    if #scores > 0 then
        redis.call('ZADD', queue, unpack(scores))
    end
    return others
end

-- Tells whether this worker serves the job's lane.
local function serves(lane)
    for _, own in ipairs(lanes) do
        if own == lane then
            return true
        end
    end
    return false
end

local function lane_of(job_id)
    return redis.call('GET', lane_prefix .. job_id) or DEFAULT_POOL
end

running, lease_ms, count = tonumber(running), tonumber(lease_ms), tonumber(count)
local keys = {queue = queue, suspects = suspects, isolating = isolating, clearing = clearing, workers = workers}
company = isolation(keys, worker, tonumber(slots), running, tonumber(company), lease_ms, now)
if company > 0 then
    for _, job_id in ipairs(redis.call('ZREVRANGEBYSCORE', suspects, '+inf', company, 'LIMIT', 0, SUSPECTS_LOOK)) do
        if company <= running + #claimed then
            break
        end
        if serves(lane_of(job_id)) then
            redis.call('ZREM', suspects, job_id)
            if redis.call('ZSCORE', queue, job_id) then  -- it has not ended meanwhile
                claim({job_id})
            end
        end
    end
end
if company > 0 and running == 0 and #claimed == 0 then
    company = 0
    redis.call('ZREM', isolating, worker)
end

local function look_later(job_id, look_ms)
    redis.call('ZADD', queue, string.format('%d.5', now + look_ms), job_id)
    soonest_ms = math.min(soonest_ms or look_ms, look_ms)
end

-- Claims jobs. One that another worker has is due again when that claim ends. Returns how many it has claimed.
local function claim_or_look_later(job_ids)
    local before = #claimed
    for _, job_id in ipairs(claim(job_ids)) do
        look_later(job_id, math.max(redis.call('PTTL', in_progress_prefix .. job_id), 0) + 1)
    end
    return #claimed - before
end

-- Returns how many ms it takes until another job is due; -1 if there is none.
local function ms_until_another()
    local due = redis.call('ZRANGEBYSCORE', queue, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
    return due and due - now or -1
end

-- Takes up to `count` of the due jobs, each followed by its score. One whose lane this worker does not serve goes into
-- its line.
local function take_due(jobs)
    -- include: lanes serve grace
    local mine = {}
    for i = 1, math.min(#jobs, count * 2), 2 do
        local job_id, due = jobs[i], tonumber(jobs[i + 1])
        if due % 1 == 0.5 and in_grace(beat, grace, lease_ms, now) then
            look_later(job_id, GRACE_LOOK_MS)
        elseif not serves(lane_of(job_id)) then
            put_in_line(prefixes, {queue = queue, hints = hints}, job_id, lane_of(job_id), due)
        else
            mine[#mine + 1] = job_id
        end
    end
    claim_or_look_later(mine)
end

if company == 0 then
    local jobs = redis.call('ZRANGEBYSCORE', queue, 0, now, 'WITHSCORES', 'LIMIT', 0, count + 1)
    wait_ms = #jobs > count * 2 and 0 or ms_until_another()
    if #jobs > 0 then
        take_due(jobs)
    end
end

local known_paused
-- Whether anything is paused. A worker that finds no job does not ask.
local function is_any_paused()
    if known_paused == nil then
        known_paused = redis.call('EXISTS', paused) == 1
    end
    return known_paused
end

-- Holds back a turn of a paused tenant. Its other jobs are not held: they are about turns that ran before.
local function hold_back(job_id, since_us)
    local field = string.sub(job_id, 1, 5) == 'chat:' and 'tenant:' .. tenant_of(job_id)
    local holds = field and is_paused(paused, field)
    if holds then
        redis.call('ZADD', held_prefix .. field, 'NX', since_us, job_id)
    end
    return holds
end

-- Claims jobs that stood in a line, each followed by since when it waits. It leaves out those that do not wait there
-- any more according to the queue. Returns how many it has claimed.
local function claim_in_line(line, batch_pool)
    local job_ids, waiting = {}, {}
    for i = 1, #line, 2 do
        job_ids[#job_ids + 1] = line[i]
    end
    if batch_pool then
        redis.call('ZREM', ageing_prefix .. batch_pool, unpack(job_ids))
    end
    for i, score in ipairs(redis.call('ZMSCORE', queue, unpack(job_ids))) do
        if score and tonumber(score) < 0 and not (is_any_paused() and hold_back(job_ids[i], line[2 * i])) then
            waiting[#waiting + 1] = job_ids[i]
        end
    end
    return claim_or_look_later(waiting)
end

local room = {open = count - #claimed - reserved, busy = {names = {}, count = 0}}
for tenant in string.gmatch(busy, '%S+') do
    room.busy.names[tenant], room.busy.count = true, room.busy.count + 1
end
local others_wait = false
for _, lane in ipairs(company == 0 and lanes or {}) do
    local batch_pool = string.match(lane, '^(.+):batch$')
    local has_more, is_left = serve(prefixes, lane, count - #claimed, room, function(line)
        return claim_in_line(line, batch_pool)
    end)
    if has_more then
        wait_ms = 0
    end
    others_wait = others_wait or is_left
end
if reserved ~= '0' then
    redis.call('SET', reserving, 1, 'PX', RESERVING_MS)  -- now `enqueue` tells of tenants that had nothing waiting
end
if others_wait then
    -- include: lanes serve
    for i = 1, tonumber(pools) do
        grow_old(prefixes, lanes[i], (now - batch_age_ms) * 1000)
    end
end
if soonest_ms and (wait_ms < 0 or soonest_ms < wait_ms) then
    wait_ms = soonest_ms
end
if company ~= 0 and woken == '1' then
    for _, list in ipairs(own_hints) do
        redis.call('RPUSH', list, '')  -- the hint may have been for a job that this worker does not take
    end
elseif company == 0 and wait_ms ~= 0 and not others_wait and (woken == '1' or #claimed > 0) then
    redis.call('DEL', unpack(own_hints))  -- nothing else is due, so older hints would wake workers in vain
end
if #claimed == 0 then
    return {wait_ms, company, {}}
end
redis.call('SADD', claims, unpack(claimed))
redis.call('PEXPIRE', claims, 2 * lease_ms)
local reply, job_keys = {wait_ms, company, is_any_paused() and paused_fields(paused) or {}}, {}
for i, job_id in ipairs(claimed) do
    job_keys[i] = job_prefix .. job_id
end
for i, job in ipairs(redis.call('MGET', unpack(job_keys))) do
    reply[2 * i + 2], reply[2 * i + 3] = claimed[i], job or ''
end
return reply
