-- Finding the job that kills its workers. A worker that dies takes all its jobs with it, and only one of them may be at
-- fault. So a crash counts against a job only if the worker ran nothing else. A job whose workers have died twice is a
-- suspect. From then on it runs only in workers whose jobs are all suspects, a quarter as many as when the worker died.
-- Each further crash divides this number again, until the job runs alone.
-- These fields of the turn hash are about the job that runs the turn:
-- `crashes`          how many workers died while they ran the turn
-- `crashes_alone`    how many of these ran nothing else
-- `company_limit`    how many jobs its worker may run at most, all of them suspects; absent until it is a suspect
-- `company`          how many jobs the worker of the running attempt runs at most; absent if nobody knows
-- The same fields with the prefix `persist_` are about the job that persists the turn's answer.
-- Whoever buries a worker writes into `company` how many jobs the worker had, or `stopped` if it shut down properly.
-- parts/isolation.lua decides which workers run suspects.

local UNKNOWN_COMPANY = 100  -- how many jobs a dead worker is taken to have had if nobody knows

-- read_suspicion(values, first)
-- RETURNS a table: what is known about the job. The values of `crashes`, `crashes_alone` and `company_limit` begin at
-- `values[first]`.
local function read_suspicion(values, first)
    return {crashes = tonumber(values[first] or '0'), alone = tonumber(values[first + 1] or '0'),
            limit = values[first + 2] and tonumber(values[first + 2]) or nil}
end

-- add_crash(suspicion, company)
-- Counts the death of a worker. `company` is how many jobs it ran; 0 if nobody knows.
local function add_crash(suspicion, company)
    suspicion.crashes = suspicion.crashes + 1
    suspicion.alone = suspicion.alone + (company == 1 and 1 or 0)
    if suspicion.crashes > 1 then
        local quarter = math.max(math.floor((company == 0 and UNKNOWN_COMPANY or company) / 4), 1)
        suspicion.limit = math.min(suspicion.limit or quarter, quarter)
    end
end

-- may_run(suspicion, company)
-- RETURNS true if the job may run in a worker that runs at most `company` jobs, all of them suspects; 0 means that the
-- worker runs any jobs
local function may_run(suspicion, company)
    return not suspicion.limit or (company > 0 and company <= suspicion.limit)
end

-- suspicion_fields(suspicion, prefix)
-- RETURNS the fields of a suspicion, each followed by its value; the names of the fields begin with the prefix
local function suspicion_fields(suspicion, prefix)
    local fields = {prefix .. 'crashes', suspicion.crashes, prefix .. 'crashes_alone', suspicion.alone}
    if suspicion.limit then
        fields[5], fields[6] = prefix .. 'company_limit', suspicion.limit
    end
    return fields
end
