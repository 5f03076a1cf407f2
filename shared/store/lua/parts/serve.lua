-- Takes jobs out of lanes; see parts/lanes.lua.

local STALE_LIMIT = 250  -- how many entries whose jobs wait no more, or are held back, are skipped in one call

-- lane_keys(prefixes, lane, tenant)
-- RETURNS the keys of a lane and of a tenant's line in it
local function lane_keys(prefixes, lane, tenant)
    return {tenants = prefixes.tenants .. lane, debts = prefixes.debts .. lane,
            waiting = prefixes.waiting .. lane .. ':' .. tenant}
end

-- weight_of(prefixes, tenant)
-- RETURNS how many jobs the tenant may take in its turn
local function weight_of(prefixes, tenant)
    return tonumber(redis.call('GET', prefixes.weight .. tenant) or '1')
end

-- end_turn(keys, tenant, next_start, is_empty)
-- Moves a tenant that was served behind the others; one without jobs leaves the lane.
local function end_turn(keys, tenant, next_start, is_empty)
    if is_empty then
        redis.call('ZREM', keys.tenants, tenant)
        redis.call('ZADD', keys.debts, next_start, tenant)
    else
        redis.call('ZADD', keys.tenants, next_start, tenant)
    end
end

-- new_here(tenants, busy)
-- RETURNS the first tenant that runs nothing in this worker, and its virtual start; nil if there is none
local function new_here(tenants, busy)
    local found = redis.call('ZRANGE', tenants, 0, busy.count, 'WITHSCORES')
    for i = 1, #found, 2 do
        if not busy.names[found[i]] then
            return found[i], found[i + 1]
        end
    end
end

-- serve(prefixes, lane, count, room, claim)
-- Takes up to `count` jobs of a lane. `claim` is called with the first jobs of a line, each followed by since when it
-- waits; it returns how many it has claimed, without those that do not wait, or that are held back.
-- room: `open`, how many slots are for any tenant; the others are reserved for tenants that are not `busy` here
-- RETURNS true if there are more that this worker could take; true if there are any more
local function serve(prefixes, lane, count, room, claim)
    local served, stale, virtual_time = 0, 0, nil
    local tenants, debts = prefixes.tenants .. lane, prefixes.debts .. lane
    local could_take, is_left = true, nil
    while served < count and stale < STALE_LIMIT do
        local first = redis.call('ZRANGE', tenants, 0, 1, 'WITHSCORES')
        local tenant, start, is_alone = first[1], first[2], not first[3]
        if not tenant then  -- nobody waits in this lane
            return false, false
        end
        if room.open < 1 then
            tenant, start = new_here(tenants, room.busy)
            could_take = tenant ~= nil
        end
        if not could_take then
            break
        end
        local keys = lane_keys(prefixes, lane, tenant)
        local wanted = is_alone and math.min(count - served, math.max(room.open, 1)) or 1
        local line = redis.call('ZPOPMIN', keys.waiting, wanted)
        local claimed = #line > 0 and claim(line) or 0
        served, stale, room.open = served + claimed, stale + #line / 2 - claimed, room.open - claimed
        if claimed > 0 and not room.busy.names[tenant] then
            room.busy.names[tenant], room.busy.count = true, room.busy.count + 1
        end
        local is_empty = #line < 2 * wanted or redis.call('EXISTS', keys.waiting) == 0
        if is_alone and is_empty then  -- nobody waits in this lane any more, so nobody owes anything
            redis.call('DEL', tenants, debts)
            return false, false
        elseif is_alone then
            is_left = true
            if claimed > 0 then  -- it was served while nobody else waited, so those who were served before owe nothing
                redis.call('DEL', debts)
                virtual_time = nil
            end
        else
            -- One that leaves after a turn in a reserved slot, so out of its turn, owes no more than this turn.
            local begins = is_empty and first[2] or start
            end_turn(keys, tenant, begins + claimed / weight_of(prefixes, tenant), is_empty)
            virtual_time, is_left = first[2], nil
        end
    end
    if virtual_time then
        redis.call('ZREMRANGEBYSCORE', debts, '-inf', virtual_time)  -- these tenants would begin at this time anyway
        redis.call('ZADD', debts, virtual_time, '')
    end
    if is_left == nil then
        is_left = redis.call('EXISTS', tenants) == 1
    end
    return is_left and could_take, is_left
end

-- put_in_line(prefixes, keys, job_id, lane, due)
-- Puts a due job that stands in no line into its tenant's line, because another worker must take it, and wakes one.
-- keys: `queue` and `hints`
local function put_in_line(prefixes, keys, job_id, lane, due)
    local tenant = tenant_of(job_id)
    redis.call('ZADD', keys.queue, string.format('%d', due - IN_LINE_MS), job_id)
    stand_in_line(lane_keys(prefixes, lane, tenant), tenant, job_id, math.floor(due) * 1000, false)
    push_hint(hints_of(keys.hints, lane), job_id)
end

local AGED_TOGETHER = 100

-- grow_old(prefixes, pool, since_us)
-- Moves batch jobs that have waited since `since_us` or longer to the interactive jobs of their pool.
local function grow_old(prefixes, pool, since_us)
    local ageing = prefixes.ageing .. pool
    for _, job_id in ipairs(redis.call('ZRANGEBYSCORE', ageing, '-inf', since_us, 'LIMIT', 0, AGED_TOGETHER)) do
        local tenant = tenant_of(job_id)
        local line = lane_keys(prefixes, pool .. ':batch', tenant).waiting
        local since = redis.call('ZSCORE', line, job_id)
        redis.call('ZREM', ageing, job_id)
        if since then
            redis.call('ZREM', line, job_id)
            redis.call('SET', prefixes.lane .. job_id, pool, 'XX', 'KEEPTTL')
            stand_in_line(lane_keys(prefixes, pool, tenant), tenant, job_id, since, false)
        end
    end
end
